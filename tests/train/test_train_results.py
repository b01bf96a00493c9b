"""Wilson's interval against hand-worked values, and what train.json holds."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from raif.train.results import TrainResult, wilson


def test_wilson_by_hand() -> None:
    # p = .8, n = 10, z² = 3.841459: centre (.8 + .192073) / 1.384146 = .716740,
    # half √(.16/10 + 3.841459/400) · 1.959964 / 1.384146 = √.02560365 · 1.416010 = .226577
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.490163, abs=2e-6)
    assert high == pytest.approx(0.943317, abs=2e-6)


def test_wilson_at_the_ends() -> None:
    # p = 1: (1 + z²/2n ± z²/2n) / (1 + z²/n), so for n = 20: low = 1 / 1.192073 = .838875
    low, high = wilson(20, 20)
    assert (low, high) == (pytest.approx(0.838875, abs=2e-6), 1.0)
    assert wilson(0, 20) == (0.0, pytest.approx(1 - 0.838875, abs=2e-6))
    assert wilson(0, 0) == (0.0, 1.0)


def test_train_json_has_no_path_and_no_times() -> None:
    result = TrainResult(
        kind="sft",
        fingerprint="f",
        steps=3,
        examples=2,
        parameters="p",
        path=Path("/somewhere"),
        seconds=1.5,
        resumed_from=2,
    )
    assert orjson.loads(result.to_json()).keys().isdisjoint({"path", "seconds", "resumed_from", "reused"})
    assert b"somewhere" not in result.to_json()
    assert TrainResult.model_validate_json(result.to_json()).steps == 3
