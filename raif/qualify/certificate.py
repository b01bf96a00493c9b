"""Certificates: what ``raif judge check`` leaves, and what ``raif label`` asks before it trusts a judge.

A certificate belongs to one judge (by its identity, which for local weights holds their fingerprint) and one way of
asking (mode, templates). It holds a section for each principle that was checked, by the principle's own words: an
edited constitution lacks those of the edited principles alone. It is kept in the cache's folder; ``RAIF_CACHE=off``
keeps none, unless ``judge_check.certificate`` names a file. The demo judge's own ships with raif.

A section that is there passes or fails by the thresholds of the configuration that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raif.cache import cache_path
from raif.config import JudgeCheckConfig, LabelConfig
from raif.constitution import Constitution
from raif.disk import disk_error, lock_for, write_atomically
from raif.errors import InputError, StoreError
from raif.feedback.calibrate import way_of_asking
from raif.feedback.modes import template_hash
from raif.models.base import ModelInfo
from raif.prompts import PromptLibrary
from raif.qualify.asking import asked_in_full
from raif.qualify.canaries import battery, battery_digest
from raif.qualify.card import ENOUGH, Card, report_card
from raif.qualify.section import Section, principle_key, section_key
from raif.records import digest
from raif.resources import PACKAGE
from raif.store import validation_summary

SHIPPED = PACKAGE / "demo" / "certificate.json"
"""The demo judge's; ``raif judge check`` with ``--certificate`` makes it."""
FOLDER = "certificates"
_MARGINS = {"min_mass", "tie_margin", "conflict_margin"}
"""Settings by which answers become the outcomes that a section keeps."""
_FORMAT = 1
"""Enters every key: raise it when a section's meaning changes."""


class Key(BaseModel):
    """Whom a certificate is for. Two judges, or two ways of asking one, never share any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = _FORMAT
    judge: str
    shaping: dict[str, str]
    """What its answers depend on beside its identity: a server's name may stand for other weights by now."""
    template: str
    asked: dict[str, Any]
    battery: str

    @classmethod
    def of(cls, judge: ModelInfo, library: PromptLibrary, label: LabelConfig) -> Self:
        """The key for a judge that is asked with these templates and settings."""
        asked = way_of_asking(asked_in_full(label), reward=judge.rates)
        asked |= label.model_dump(mode="json", include=_MARGINS)
        template = "" if judge.rates else template_hash(library, label)
        return cls(
            judge=judge.identity,
            shaping=judge.shaping,
            template=template,
            asked=asked,
            battery=battery_digest(battery()),
        )

    @property
    def hash(self) -> str:
        """A digest of all of it."""
        return digest("certificate", self)


class Certificate(BaseModel):
    """Sections by key, and whose they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Key
    sections: dict[str, Section] = Field(default_factory=dict)

    def with_section(self, key: str, section: Section) -> Certificate:
        """The certificate with one more section, or a newer one."""
        return self.model_copy(update={"sections": {**self.sections, key: section}})


def certificate_path(key: Key, config: JudgeCheckConfig) -> Path | None:
    """Where a certificate is kept: the configured file, else one in the cache's folder; None where nothing is kept."""
    if config.certificate is not None:
        return config.certificate
    cache = cache_path()
    return None if cache is None else cache.parent / FOLDER / f"{key.hash}.json"


def read_certificate(path: Path | None, key: Key) -> Certificate:
    """The certificate in a file, without any sections where there is none, or one for somebody else.

    Raises:
        StoreError: the file is damaged.
        InputError: it can't be read.
    """
    if path is None or not path.is_file():
        return Certificate(key=key)
    try:
        found = orjson.loads(path.read_bytes())
        if not isinstance(found, dict) or found.get("key") != key.model_dump(mode="json"):
            return Certificate(key=key)
        return Certificate.model_validate(found)
    except OSError as error:
        raise disk_error(error, path, "read") from error
    except (orjson.JSONDecodeError, ValidationError) as error:
        what = validation_summary(error) if isinstance(error, ValidationError) else str(error)
        raise StoreError(
            f"{path}: this certificate is damaged ({what}); delete it and check the judge again"
        ) from error


def known_sections(key: Key, config: JudgeCheckConfig) -> Certificate:
    """All that is known of a judge: what ships with raif, and what this user's checks have found, which counts more."""
    shipped, own = read_certificate(SHIPPED, key), read_certificate(certificate_path(key, config), key)
    return Certificate(key=key, sections={**shipped.sections, **own.sections})


def refuse_other_files(path: Path) -> None:
    """Let nothing be written over what is no certificate.

    Raises:
        InputError: there is a file, and it is something else.
    """
    if not path.exists():
        return
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        found = None
    if not isinstance(found, dict) or not {"key", "sections"} <= found.keys():
        raise InputError("is there, and is no certificate; delete it, or keep the certificate elsewhere", path=path)


def keep(path: Path, key: Key, sections: dict[str, Section]) -> None:
    """Add sections to the certificate in a file, beside those that another process may have written.

    Raises:
        InputError, StoreError: it can't be written.
    """
    with lock_for(path):
        try:
            before = read_certificate(path, key).sections
        except StoreError:
            before = {}
        whole = Certificate(key=key, sections={**before, **sections})
        write_atomically(path, orjson.dumps(whole.model_dump(mode="json")) + b"\n")


def relevant(certificate: Certificate, constitution: Constitution) -> dict[str, Section]:
    """The sections that speak of a constitution: those of its principles, and that of all of them together."""
    keys = [principle_key(principle) for principle in constitution.principles]
    whole = section_key(constitution.principles)
    return {key: certificate.sections[key] for key in dict.fromkeys((*keys, whole)) if key in certificate.sections}


def lacking(certificate: Certificate, constitution: Constitution) -> list[str]:
    """The ids of the principles that no section speaks of."""
    whole = section_key(constitution.principles)
    if whole in certificate.sections:
        return []
    known = {key for section in certificate.sections.values() for key in section.principles.values()}
    own = certificate.sections.keys()
    alone = [p.id for p in constitution.principles if principle_key(p) not in own]
    # Principles that were checked together were checked; where nothing but their company changed, that has to be again.
    changed = [p.id for p in constitution.principles if principle_key(p) not in own and principle_key(p) not in known]
    return changed or alone


Status = Literal["qualified", "failed", "incomplete", "unchecked"]


@dataclass(frozen=True, slots=True)
class Qualification:
    """Whether a judge has qualified for a constitution."""

    status: Status
    lacking: tuple[str, ...] = ()
    """Principles that it has not been checked under."""
    missed: tuple[str, ...] = ()
    """Thresholds that it misses."""

    @property
    def qualified(self) -> bool:
        """Whether it may label without a warning."""
        return self.status == "qualified"

    def __str__(self) -> str:
        if self.qualified:
            return "qualified"
        if self.status == "unchecked":
            return "not qualified: it has not been checked"
        found = [f"it has not been checked under {', '.join(self.lacking)}"] if self.lacking else []
        found += [f"it misses {', '.join(name.strip() for name in self.missed)}"] if self.missed else []
        return f"not qualified: {', and '.join(found)}"


def qualification(
    certificate: Certificate,
    constitution: Constitution,
    config: JudgeCheckConfig,
    label: LabelConfig,
    calibrate: Callable[[float], float] | None = None,
) -> Qualification:
    """What the known sections say of a judge under a constitution, by the thresholds of ``config``."""
    sections = list(relevant(certificate, constitution).values())
    missing = lacking(certificate, constitution)
    if not sections and len(missing) == len(constitution.principles):
        return Qualification("unchecked", tuple(missing))
    known = [p.id for p in constitution.principles if p.id not in missing]
    missed = report_card(sections, config, label, principles=known, calibrate=calibrate).missed if sections else ()
    if missing:  # how much gold there is shows once all of it has been asked about
        return Qualification("incomplete", tuple(missing), tuple(name for name in missed if name != ENOUGH))
    return Qualification("failed" if missed else "qualified", missed=missed)


def card_of(
    sections: Sequence[Section],
    constitution: Constitution,
    config: JudgeCheckConfig,
    label: LabelConfig,
    calibrate: Callable[[float], float] | None = None,
) -> Card:
    """The report card of a constitution's sections."""
    principles = [principle.id for principle in constitution.principles]
    return report_card(sections, config, label, principles=principles, calibrate=calibrate)
