"""One invocation at work: its configuration, its models, and the manifest of the place it writes to.

A stage goes through ``Session.process``: items in, records out, chunk by chunk, so that a killed stage goes on where it
was. Chunks are cut from the *input*, and a half-written chunk is done again as a whole: the rows of a batch influence
each other's rounding, and equal inputs must give equal bytes. Where a model answers many requests at once and each by
itself, the next chunks are asked while this one waits for its slowest reply.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from raif.cache import CompletionCache
from raif.config import RunConfig
from raif.constitution import Constitution, load_constitution
from raif.errors import CapReached, ConfigError, StoreError
from raif.feedback.calibrate import Calibrator
from raif.manifest import ConstitutionEntry, InputEntry, Manifest, ModelEntry, SpentEntry, StageStatus, file_hash
from raif.models.budget import Budget
from raif.models.middleware import CachedModel
from raif.models.registry import open_model
from raif.prompts import PromptLibrary
from raif.records import Record, digest
from raif.reporting import Reporter
from raif.store import RecordFile

Item = TypeVar("Item", bound=Record)
Made = TypeVar("Made", bound=Record)


CHUNKS_AHEAD = 4
"""Chunks under way at once, where a model answers requests by themselves; each waits for its slowest reply."""

_NOT_SHAPING = {"run", "shard", "budget", "prices", "judge_check"}
"""Parts of the configuration that no result depends on."""


GO_ON = "; type the same command again to go on, with a cap of its own"
"""How the line ends that tells of a cap."""


class StageLog:
    """What a stage tells the manifest while it runs."""

    def __init__(self) -> None:
        self.counts: dict[str, Any] = {}
        self.models: list[CachedModel] = []


class Session:
    """Configuration, models, cache and manifest of one invocation.

    Args:
        config: the resolved configuration.
        reporter: where notes and progress go.
        manifest_path: the manifest of what is written: a run's, or the side file of a stand-alone output.
    """

    def __init__(self, config: RunConfig, reporter: Reporter, manifest_path: Path) -> None:
        self.config, self.reporter, self.manifest_path = config, reporter, manifest_path
        self.manifest = Manifest.load(manifest_path) if manifest_path.exists() else Manifest.begin()
        self.manifest.config, self.manifest.seed = config.model_dump(mode="json"), config.seed
        self.budget = Budget.from_config(config.budget)
        self._cache: CompletionCache | None = None
        self._log: StageLog | None = None
        self._said: set[str] = set()

    @cached_property
    def constitution(self) -> Constitution:
        constitution = load_constitution(self.config.constitution)
        self.manifest.constitution = ConstitutionEntry(
            name=constitution.name, version=constitution.version, hash=constitution.hash
        )
        return constitution

    @cached_property
    def library(self) -> PromptLibrary:
        library = PromptLibrary(self.config.templates)
        self.manifest.templates = library.hashes()
        return library

    @cached_property
    def calibration(self) -> Calibrator | None:
        """The calibration of the judge that ``label.calibration`` names."""
        path = self.config.label.calibration
        if path is None:
            return None
        found = Calibrator.load(path)
        self.manifest.inputs[str(path)] = InputEntry(sha256=file_hash(path), rows=found.n)
        return found

    @property
    def judge_spec(self) -> str:
        """The judge's specification; ``self`` is the policy."""
        return self.config.policy if self.config.judge == "self" else self.config.judge

    def note(self, text: str) -> None:
        self.reporter.note(text)

    def note_once(self, text: str) -> None:
        """A note that this session has not made yet."""
        if text not in self._said:
            self._said.add(text)
            self.note(text)

    @asynccontextmanager
    async def model(self, spec: str, role: str) -> AsyncIterator[CachedModel]:
        """The model ``spec``, behind the completion cache, entered in the manifest as ``role``."""
        if self._cache is None:
            self._cache = CompletionCache.default(on_note=self.note)
        model = open_model(
            spec,
            device=self.config.device,
            dtype=self.config.dtype,
            batch_size=self.config.batch_size,
            trust_remote_code=self.config.trust_remote_code,
            cache=self._cache,
            budget=self.budget,
            prices=self.config.prices,
            server=self.config.server,
            vllm=self.config.vllm,
            on_note=self.note,
        )
        self.manifest.models[role] = ModelEntry(
            spec=model.info.spec, identity=model.info.identity, details=dict(model.info.details)
        )
        if self._log is not None:
            self._log.models.append(model)
        try:
            yield model
        finally:
            await model.close()

    def settings_key(self) -> str:
        """A digest of all settings: where it is unchanged, a finished stage need not even be looked at."""
        settings = self.config.model_dump(mode="json", exclude=_NOT_SHAPING)
        corrected = [] if self.calibration is None else [self.calibration.hash]
        return digest(settings, self.constitution.hash, self.library.hashes(), *corrected)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageLog]:
        """Enter a stage in the manifest: its counts, usage, seconds, and how it ended."""
        log = self._log = StageLog()
        begun = time.perf_counter()
        status: StageStatus = "failed"
        self.manifest.update_stage(name, status="running")
        self.manifest.save(self.manifest_path)
        try:
            yield log
            status = "done"
        except (KeyboardInterrupt, SystemExit, CancelledError, CapReached):
            status = "interrupted"
            raise
        finally:
            self._log = None
            entry = self.manifest.update_stage(
                name, status=status, counts=log.counts, seconds=time.perf_counter() - begun
            )
            for model in log.models:
                cost = model.usage.cost if model.price else None
                entry.spend(model.info.identity, SpentEntry(**asdict(model.usage) | {"cost": cost}))
            entry.fingerprint = self.settings_key() if status == "done" else ""
            self.manifest.save(self.manifest_path)

    def claim(self, path: Path, *made_with: Any) -> None:
        """Refuse to go on with a file that other settings made; else remember what it is made with.

        Raises:
            StoreError: ``path`` exists and was made with something else than ``made_with``.
        """
        shard = self.manifest.shard
        if shard is not None:
            shard["made_with"] = list(made_with)
            made_with = (*made_with, "shard", shard["index"], shard["of"])
        fingerprint = digest(path.name, *made_with)
        if path.exists() and self.manifest.artefacts.get(path.name) != fingerprint:
            raise StoreError(
                f"{path}: was made with another configuration, model or constitution than this; "
                "add --redo to make it again, or write elsewhere"
            )
        self.manifest.artefacts[path.name] = fingerprint
        self.manifest.save(self.manifest_path)
        if shard is not None:
            path.touch()  # a part without items is a part all the same

    async def process(
        self,
        name: str,
        items: Sequence[Item],
        out: RecordFile[Made],
        step: Callable[[Sequence[Item]], Awaitable[list[Made]]],
        *,
        item_of: Callable[[Made], str],
        per_item: int = 1,
    ) -> list[Made]:
        """Run ``step`` over ``items`` in chunks, appending what it makes to ``out``; return all of it.

        Args:
            item_of: the id of the item that a record was made from.
            per_item: records made from each item.

        Raises:
            StoreError: ``out`` holds records that were made from other items.
        """
        in_flight = self._log.models[-1].info.in_flight if self._log and self._log.models else 0
        chunk = max(self.config.batch_size, in_flight // 2)
        made = out.read()
        expected = [item.id for item in items for _ in range(per_item)]
        if [item_of(record) for record in made] != expected[: len(made)]:
            raise StoreError(
                f"{out.path}: was made from other inputs than these; add --redo to make it again, or write elsewhere"
            )
        if len(made) < len(expected):
            made = made[: len(made) // (chunk * per_item) * chunk * per_item]
        out.truncate(len(made))  # also gives back a line end that a kill took
        done = len(made) // per_item
        begun: deque[tuple[int, asyncio.Future[list[Made]]]] = deque()
        with self.reporter.task(name, len(items), done) as task:
            try:
                for start in range(done, len(items), chunk):
                    part = items[start : start + chunk]
                    begun.append((len(part), asyncio.ensure_future(step(part))))
                    await asyncio.sleep(0)  # its requests go out before the next chunk's are worded
                    while begun and (len(begun) >= (CHUNKS_AHEAD if in_flight else 1) or start + chunk >= len(items)):
                        size, future = begun[0]
                        records = await future
                        begun.popleft()
                        out.append(records)
                        made += records
                        task.advance(size)
            except CapReached as cap:
                done = len(made) // per_item
                raise CapReached(
                    f"{name}: {cap}; {done:,} of {len(items):,} done and kept, and what was answered for the rest is "
                    f"in the cache{GO_ON}"
                ) from None
            finally:
                for _, future in begun:
                    future.cancel()
                await asyncio.gather(*(future for _, future in begun), return_exceptions=True)
        return made

    def require(self, value: Any, key: str, flag: str) -> Any:
        """``value``, unless it is missing.

        Raises:
            ConfigError: it is; names the flag and the key that give it.
        """
        if value is None:
            raise ConfigError(f"{key} is not set; give {flag}, or set {key} in raif.yaml")
        return value
