"""One invocation at work: its configuration, its models, and the manifest of the place it writes to.

A stage goes through ``Session.process``: items in, records out, chunk by chunk, so that a killed stage goes on where it
was. Chunks are cut from the *input*, and a half-written chunk is done again as a whole: the rows of a batch influence
each other's rounding, and equal inputs must give equal bytes.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from raif.cache import CompletionCache
from raif.config import RunConfig
from raif.constitution import Constitution, load_constitution
from raif.errors import ConfigError, StoreError
from raif.manifest import ConstitutionEntry, Manifest, ModelEntry, StageStatus
from raif.models.middleware import CachedModel
from raif.models.registry import open_model
from raif.prompts import PromptLibrary
from raif.records import Record, digest
from raif.reporting import Reporter
from raif.store import RecordFile

Item = TypeVar("Item", bound=Record)
Made = TypeVar("Made", bound=Record)


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
        self._cache: CompletionCache | None = None
        self._log: StageLog | None = None

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

    @property
    def judge_spec(self) -> str:
        """The judge's specification; ``self`` is the policy."""
        return self.config.policy if self.config.judge == "self" else self.config.judge

    def note(self, text: str) -> None:
        self.reporter.note(text)

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
        return digest(
            self.config.model_dump(mode="json", exclude={"run"}), self.constitution.hash, self.library.hashes()
        )

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
        except (KeyboardInterrupt, SystemExit, CancelledError):
            status = "interrupted"
            raise
        finally:
            self._log = None
            usages = [model.usage for model in log.models]
            entry = self.manifest.update_stage(
                name,
                status=status,
                counts=log.counts,
                requests=sum(usage.requests for usage in usages),
                cache_hits=sum(usage.cache_hits for usage in usages),
                prompt_tokens=sum(usage.prompt_tokens for usage in usages),
                completion_tokens=sum(usage.completion_tokens for usage in usages),
                seconds=time.perf_counter() - begun,
            )
            entry.fingerprint = self.settings_key() if status == "done" else ""
            self.manifest.save(self.manifest_path)

    def claim(self, path: Path, *made_with: Any) -> None:
        """Refuse to go on with a file that other settings made; else remember what it is made with.

        Raises:
            StoreError: ``path`` exists and was made with something else than ``made_with``.
        """
        fingerprint = digest(path.name, *made_with)
        if path.exists() and self.manifest.artefacts.get(path.name) != fingerprint:
            raise StoreError(
                f"{path}: was made with another configuration, model or constitution than this; "
                "add --redo to make it again, or write elsewhere"
            )
        self.manifest.artefacts[path.name] = fingerprint
        self.manifest.save(self.manifest_path)

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
        chunk = self.config.batch_size
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
        with self.reporter.task(name, len(items), done) as task:
            for start in range(done, len(items), chunk):
                part = items[start : start + chunk]
                records = await step(part)
                out.append(records)
                made += records
                task.advance(len(part))
        return made

    def require(self, value: Any, key: str, flag: str) -> Any:
        """``value``, unless it is missing.

        Raises:
            ConfigError: it is; names the flag and the key that give it.
        """
        if value is None:
            raise ConfigError(f"{key} is not set; give {flag}, or set {key} in raif.yaml")
        return value
