"""``raif merge``: the shards of a stage joined into what the stage would have made had it never been split.

Joined are whole sets alone: each part once, every part finished, all made from the same input with the same settings,
models, constitution and templates. The result has the bytes and the claim of the whole, so the command without
``--shard`` finds it done.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raif.disk import replacing, write_all
from raif.errors import InputError, StoreError
from raif.manifest import SIDE_MANIFEST, Manifest, StageEntry
from raif.models.base import SHAPING
from raif.records import Preference, Record, Response, Revision, digest
from raif.settings import FILE_KEYS, MODEL_KEYS
from raif.stages.shards import ShardEntry, order_digest, part_of, unpack_places
from raif.store import Note, RecordFile, validation_summary

_MADE: dict[str, tuple[type[Record], Callable[[Any], str]]] = {
    "generate": (Response, lambda response: response.prompt_id),
    "revise": (Revision, lambda revision: revision.response_id),
    "label": (Preference, lambda preference: preference.comparison.id),
}
"""What a stage makes, and the id of the item that a record was made from."""

_WHERE = {
    *("run", "shard", "device", "batch_size", "budget", "prices", "templates"),
    *(f"server.{name}" for name in ("concurrency", "start", "timeout", "deadline", "patience", "key_env")),
    *FILE_KEYS,
    *MODEL_KEYS,
}
"""Parts of the configuration that say where a part was made, how fast, and what it might cost; and paths, since what
they lead to is compared."""
_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One shard's file, with its manifest."""

    path: Path
    manifest: Manifest
    entry: ShardEntry

    @classmethod
    def read(cls, path: Path) -> Part:
        """The part in a file, by the manifest beside it.

        Raises:
            InputError: there is no manifest, or it is not that of a shard.
            StoreError: the manifest is damaged.
        """
        side = path.with_name(path.name + SIDE_MANIFEST)
        if not path.is_file() or not side.is_file():
            missing = side if path.is_file() else path
            raise InputError(
                f"is no shard: there is no {missing.name}; name files that `raif generate`, `raif revise` or "
                "`raif label` made with --shard, their manifests beside them",
                path=path,
            )
        manifest = Manifest.load(side)
        if manifest.shard is None:
            raise InputError("is no shard: it was made without --shard, so there is nothing to join", path=path)
        try:
            entry = ShardEntry.model_validate(manifest.shard)
            if entry.stage not in _MADE or len(list(unpack_places(entry.places))) > entry.items:
                raise StoreError(f"{side}: the entry of the shard is damaged; make the shard again with --redo")
        except (ValidationError, ValueError) as error:
            why = validation_summary(error) if isinstance(error, ValidationError) else str(error)
            raise StoreError(
                f"{side}: the entry of the shard is damaged ({why}); make the shard again with --redo"
            ) from error
        return cls(path, manifest, entry)

    @property
    def stage(self) -> StageEntry:
        return self.manifest.stages.get(self.entry.stage, StageEntry())


def read_parts(paths: Iterable[Path], on_note: Note | None = None) -> list[Part]:
    """All the parts of one stage, in their order.

    Raises:
        InputError: a part is missing, there twice, unfinished, or made otherwise than another one.
        StoreError: a manifest is damaged.
    """
    parts = [Part.read(path) for path in paths]
    if not parts:
        raise InputError("nothing to join; name the shards' files")
    for one, other in pairwise(parts):
        for what in ("stage", "of"):
            here, there = getattr(other.entry, what), getattr(one.entry, what)
            if here != there:
                told = "stage {}" if what == "stage" else "one of {} shards"
                raise InputError(f"is {told.format(here)}, and {one.path} is {told.format(there)}", path=other.path)
    parts.sort(key=lambda part: part.entry.index)
    for one, other in pairwise(parts):
        if one.entry.index == other.entry.index:
            raise InputError(f"is shard {other.entry.shard}, and {one.path} is the same one", path=other.path)
        _refuse_difference(one, other)
    present, of = {part.entry.index for part in parts}, parts[0].entry.of
    if missing := [index for index in range(1, of + 1) if index not in present]:
        named = ", ".join(f"{index}/{of}" for index in missing)
        raise InputError(f"{'shards are' if missing[1:] else 'a shard is'} missing: {named}")
    for part in parts:
        if part.stage.status != "done":
            raise InputError(
                f"shard {part.entry.shard} is not finished; run its command again, which goes on where it was",
                path=part.path,
            )
    if on_note:
        for name in sorted({name for part in parts for name in part.manifest.versions}):
            found = sorted({part.manifest.versions.get(name, "none") for part in parts})
            if found[1:]:
                on_note(f"the shards were made with different versions of {name}: {', '.join(found)}")
    return parts


def _refuse_difference(one: Part, other: Part) -> None:
    found = first_difference(essence(one), essence(other))
    if found is None:
        return
    name, here, there = found
    raise InputError(
        f"{name} is {_shown(there)} here, and {_shown(here)} in {one.path}; shards that are joined are made from one "
        "input with the same settings: make one of the two again with --redo",
        path=other.path,
    )


def essence(part: Part) -> dict[str, Any]:
    """Everything that must be equal in all parts of one stage, by dotted name: no paths, no times, no machine."""
    manifest, entry = part.manifest, part.entry
    whole = {
        **{name: value for name, value in _leaves(manifest.config) if not _says_where(name)},
        "seed": manifest.seed,
        "raif": manifest.raif,
        "constitution": manifest.constitution.model_dump() if manifest.constitution else None,
        "templates": manifest.templates,
        "models": {
            role: {"identity": model.identity, **{name: model.details.get(name) for name in SHAPING}}
            for role, model in manifest.models.items()
        },
        "inputs": sorted({f"{given.sha256} ({given.rows} rows)" for given in manifest.inputs.values()}),
        "items": entry.items,
        "order of the items": entry.order,
        "records of each item": entry.per_item,
        "settings of the stage": entry.made_with,
    }
    return dict(_leaves(whole))


def _says_where(name: str) -> bool:
    return name in _WHERE or name.split(".")[0] in _WHERE


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first name whose values differ, with both; None where nothing differs."""
    for name in dict.fromkeys((*one, *other)):
        if one.get(name) != other.get(name):
            return name, one.get(name), other.get(name)
    return None


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return "not set" if value is None else text if len(text) <= 60 else f"{text[:57]}..."


def joined(parts: Sequence[Part]) -> Iterator[bytes]:
    """The lines of all parts, in the order of the whole.

    Raises:
        InputError: a part has rows that are another part's, or fewer or more than its manifest says.
        StoreError: a row is damaged.
    """
    entry = parts[0].entry
    owners = array("L", [0]) * entry.items
    for number, part in enumerate(parts):
        for place in unpack_places(part.entry.places):
            if place >= entry.items or owners[place]:
                raise InputError(
                    f"shard {part.entry.shard} and another one both have item {place + 1:,}; make it again with --redo",
                    path=part.path,
                )
            owners[place] = number + 1
    if 0 in owners:
        raise InputError(f"item {owners.index(0) + 1:,} of {entry.items:,} is in none of the shards")
    rows = [_rows(part) for part in parts]
    ids: list[str] = []
    for owner in owners:
        item_id, lines = next(rows[owner - 1], (None, []))
        if item_id is None:
            part = parts[owner - 1]
            raise InputError(
                f"has fewer rows than shard {part.entry.shard} had when it was finished; run its command again",
                path=part.path,
            )
        ids.append(item_id)
        yield from lines
    for part, rest in zip(parts, rows, strict=True):
        if next(rest, None) is not None:
            raise InputError(
                f"has more rows than shard {part.entry.shard} made; make it again with --redo", path=part.path
            )
    if order_digest(ids) != entry.order:
        raise InputError(
            "the rows of the shards are not those of their input, in its order; make them again with --redo"
        )


def _rows(part: Part) -> Iterator[tuple[str, list[bytes]]]:
    """Each item's id with the lines that were made from it."""
    record_type, item_of = _MADE[part.entry.stage]
    waiting: list[bytes] = []
    item_id = ""
    for number, record in enumerate(RecordFile(part.path, record_type), start=1):
        found = item_of(record)
        owner = part_of(found, part.entry.of)
        if owner != part.entry.index:
            raise InputError(
                f"this row belongs to shard {owner}/{part.entry.of}, and this is shard {part.entry.shard}",
                path=part.path,
                line=number,
            )
        if waiting and found != item_id:
            raise InputError("rows of the item before this one are missing", path=part.path, line=number)
        item_id = found
        waiting.append(record.to_json() + b"\n")
        if len(waiting) == part.entry.per_item:
            yield item_id, waiting
            waiting = []
    if waiting:
        raise InputError("rows of the last item are missing; run the shard's command again", path=part.path)


def join(parts: Sequence[Part], out: Path, whole: Manifest) -> int:
    """Write the whole to ``out``, and enter it in ``whole``, the manifest that it gets; the caller saves that.

    Returns:
        The number of rows.

    Raises:
        InputError: as :func:`joined`; ``out`` is then as it was.
    """
    count = 0
    with replacing(out) as descriptor:
        buffer = bytearray()
        for line in joined(parts):
            count += 1
            buffer += line
            if len(buffer) >= _BUFFER:
                write_all(descriptor, bytes(buffer))
                buffer.clear()
        write_all(descriptor, bytes(buffer))
    first = parts[0].manifest
    name = parts[0].entry.stage
    whole.models |= first.models
    whole.stages[name] = joined_stage([part.stage for part in parts])
    whole.artefacts[out.name] = digest(out.name, *parts[0].entry.made_with)
    return count


def whole_manifest(parts: Sequence[Part]) -> Manifest:
    """A manifest for the whole, outside any run: the first part's, of no shard and with no stage in it yet."""
    whole = parts[0].manifest.model_copy(deep=True)
    whole.shard, whole.stages, whole.artefacts = None, {}, {}
    whole.config["shard"] = None
    return whole


def joined_stage(entries: Sequence[StageEntry]) -> StageEntry:
    """What the parts came to together. Seconds are added up: those of computation, not of waiting."""
    whole = StageEntry(
        status="done",
        attempts=sum(entry.attempts for entry in entries),
        seconds=round(sum(entry.seconds for entry in entries), 3),
        started=min((entry.started for entry in entries if entry.started), default=None),
        finished=max((entry.finished for entry in entries if entry.finished), default=None),
        notes=list(dict.fromkeys(note for entry in entries for note in entry.notes)),
    )
    for entry in entries:
        for identity, spent in entry.models.items():
            whole.spend(identity, spent)
        for name, count in entry.counts.items():
            _add(whole.counts, name, count)
    return whole


def _add(counts: dict[str, Any], name: str, count: Any) -> None:
    """Add up whole numbers; a rate of a part says nothing of the whole."""
    if isinstance(count, dict):
        inner = counts.setdefault(name, {})
        for key, value in count.items():
            _add(inner, key, value)
    elif isinstance(count, int):
        counts[name] = counts.get(name, 0) + count
