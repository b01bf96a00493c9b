"""One stage, split over processes or machines: ``--shard I/N`` does the I-th of N parts of its items.

An item belongs to the part that a digest of its id says: inputs in another order, or with more items, move none. Which
places of the whole input a part's items have stands in its manifest, one bit an item, so that ``raif merge`` can put
the parts back in the order of a run that was never split (see ``raif.stages.merge``).
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from raif.records import Record, digest
from raif.session import Session

Item = TypeVar("Item", bound=Record)

STAGES = ("generate", "revise", "label")
"""The stages that can be split."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The ``index``-th of ``of`` parts; the first is 1."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that a configuration calls ``I/N``; ``raif.config`` has seen to it that it is one."""
        index, _, of = text.partition("/")
        return cls(int(index), int(of))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def holds(self, item_id: str) -> bool:
        """Whether an item is this part's."""
        return part_of(item_id, self.of) == self.index

    def beside(self, path: Path) -> Path:
        """Where this part of a run's file lies: ``30_labels.2-of-4.jsonl`` of ``30_labels.jsonl``."""
        return path.with_name(f"{path.stem}.{self.index}-of-{self.of}{path.suffix}")


class ShardEntry(BaseModel):
    """What the manifest of a part says about it."""

    model_config = ConfigDict(extra="allow")

    stage: str
    index: int
    of: int
    items: int
    """Of the whole input, not of this part."""
    per_item: int
    """Records made from each item."""
    order: str
    """SHA-256 over the ids of the whole input, in order."""
    places: str
    """Which of the whole input's items are this part's: a bit each, the first the highest, zlib'ed, in base64."""
    made_with: list[Any] = Field(default_factory=list)
    """What the part's claim covers; the whole's claim follows from it (see ``Session.claim``)."""

    @property
    def shard(self) -> Shard:
        return Shard(self.index, self.of)


def part_of(item_id: str, of: int) -> int:
    """The part, from 1 to ``of``, that an item belongs to: by its id alone, all parts equally likely."""
    return int(digest("shard", item_id, length=16), 16) % of + 1


def order_digest(ids: Iterable[str]) -> str:
    """SHA-256 (64 hex digits) over ids, in order."""
    running = hashlib.sha256()
    for item_id in ids:
        running.update(f"{item_id}\n".encode())
    return running.hexdigest()


def pack_places(places: Iterable[int], items: int) -> str:
    """The places, of ``items``, at which there is a bit; see :class:`ShardEntry`."""
    bits = bytearray((items + 7) // 8)
    for place in places:
        bits[place // 8] |= 0x80 >> place % 8
    return base64.b64encode(zlib.compress(bytes(bits))).decode()


def unpack_places(packed: str) -> Iterator[int]:
    """The places that ``pack_places`` packed, in rising order.

    Raises:
        ValueError: the text is damaged.
    """
    try:
        bits = zlib.decompress(base64.b64decode(packed, validate=True))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    for at, byte in enumerate(bits):
        for bit in range(8):
            if byte & 0x80 >> bit:
                yield at * 8 + bit


def share(session: Session, stage: str, items: Sequence[Item], *, per_item: int = 1) -> Sequence[Item]:
    """The items that this invocation is to do: all of them, or those of its shard, which the manifest then describes.

    Comes before the stage's claim, which covers the shard.
    """
    if session.config.shard is None:
        session.manifest.shard = None
        return items
    shard = Shard.parse(session.config.shard)
    places = [place for place, item in enumerate(items) if shard.holds(item.id)]
    session.manifest.shard = ShardEntry(
        stage=stage,
        index=shard.index,
        of=shard.of,
        items=len(items),
        per_item=per_item,
        order=order_digest(item.id for item in items),
        places=pack_places(places, len(items)),
    ).model_dump(mode="json")
    session.note(f"{stage}: shard {shard} is {len(places):,} of {len(items):,} items")
    return [items[place] for place in places]
