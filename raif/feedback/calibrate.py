"""Correcting a judge's probabilities by what humans say: the file that ``raif judge calibrate`` makes, applied.

Which response is A carries no meaning, so a calibration maps the *confidence* in the preferred side, from [0.5, 1] to
[0.5, 1], and never turns a preference round: calibrate(1 − p) = 1 − calibrate(p).

    temperature   σ(logit(p) / T): one number, for a judge that is too sure (T > 1) or not sure enough (T < 1)
    isotonic      the best rising step function, drawn through with straight lines; for plenty of human labels

It is fitted in ``raif.evaluate.recalibration``, and belongs to the judge, the constitution and the way of asking that
it was made for.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from raif.config import LabelConfig
from raif.disk import disk_error
from raif.errors import InputError
from raif.feedback.reading import logistic
from raif.records import digest
from raif.store import validation_summary

SUREST = 1 - 1e-6
"""Probabilities are kept to six decimals: what is surer than this has no log-odds to go by."""

_SHAPING: dict[str, tuple[str, ...]] = {
    "logprob": ("orders", "principles", "allow_tie", "examples"),
    "cot": ("orders", "principles", "allow_tie", "examples", "temperature", "max_tokens", "clamp", "cot_answer"),
    "votes": ("orders", "principles", "allow_tie", "examples", "max_tokens", "votes", "vote_temperature"),
    "score": ("principles", "scale"),
}
"""The settings that a judge's probabilities depend on, by mode."""


def way_of_asking(config: LabelConfig, *, reward: bool = False) -> dict[str, Any]:
    """What a calibration must have in common with the labels that it is applied to; a reward model has no settings."""
    if reward:
        return {"mode": "reward"}
    return {"mode": config.asking, **config.model_dump(mode="json", include=set(_SHAPING[config.asking]))}


class Curve(BaseModel):
    """What a confidence becomes: by a temperature, or by knots (confidence, corrected), rising, straight between."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float | None = Field(None, gt=0)
    knots: tuple[tuple[float, float], ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.temperature is None) == (not self.knots):
            raise ValueError("a curve has a temperature or knots")
        xs, ys = [x for x, _ in self.knots], [y for _, y in self.knots]
        if xs != sorted(set(xs)) or ys != sorted(ys) or any(not 0.5 <= value <= 1 for value in (*xs, *ys)):
            raise ValueError("knots rise, from 0.5 to 1")
        return self

    def __call__(self, p_a: float) -> float:
        """The corrected probability, kept to six decimals."""
        if p_a == 0.5:
            return p_a
        confidence = round(self._confidence(round(max(p_a, 1 - p_a), 6)), 6)
        return confidence if p_a > 0.5 else round(1 - confidence, 6)

    def _confidence(self, confidence: float) -> float:
        if self.temperature is not None:
            sure = min(confidence, SUREST)
            return logistic(math.log(sure / (1 - sure)) / self.temperature)
        place = bisect_left(self.knots, (confidence,))
        if place in (0, len(self.knots)):
            return self.knots[max(place - 1, 0)][1]
        (x0, y0), (x1, y1) = self.knots[place - 1 : place + 1]
        return y0 + (y1 - y0) * (confidence - x0) / (x1 - x0)


class Calibrator(BaseModel):
    """A calibration: its curve, and what that was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    raif: str
    curve: Curve
    judge: str
    constitution: str
    template: str
    asked: dict[str, Any]
    gold: str | None
    """SHA-256 of the file of human labels; None for a data set from a hub."""
    n: int
    prompts: int
    gain: dict[str, Any] = Field(default_factory=dict)
    """Log-loss, Brier score and calibration error before and after, held out, as ``raif judge calibrate`` printed."""

    @property
    def hash(self) -> str:
        """A digest of what it does."""
        return digest("calibration", self.curve)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The calibration in a file.

        Raises:
            InputError: it can't be read, or is something else.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise disk_error(error, path, "read") from error
        except ValidationError as error:
            what = validation_summary(error)
            raise InputError(
                f"is no calibration of raif ({what}); raif judge calibrate makes one", path=path
            ) from error

    def check(self, path: Path, judge: str, constitution: str, template: str, asked: dict[str, Any]) -> None:
        """Refuse labels that this calibration was not made for.

        Raises:
            InputError: names what differs.
        """
        differing = [
            f"another {what} ({mine[:40]}, not {theirs[:40]})"
            for what, mine, theirs in (
                ("judge", self.judge, judge),
                ("constitution", self.constitution, constitution),
                ("wording", self.template, template),
            )
            if mine != theirs
        ]
        same_mode = self.asked.get("mode") == asked.get("mode")
        differing += [
            f"{key} {self.asked.get(key)!r}, not {asked.get(key)!r}"
            for key in (sorted({*self.asked, *asked}) if same_mode else ["mode"])
            if self.asked.get(key) != asked.get(key)
        ]
        if differing:
            raise InputError(
                f"was made for {'; '.join(differing)}: make one with raif judge calibrate, or apply it all the same "
                "with --foreign-calibration",
                path=path,
            )
