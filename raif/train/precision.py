"""Where a run computes, and in what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from raif.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Precision:
    """Device and number formats of one run.

    Weights that are trained are float32 always, because AdamW's small steps vanish in less; on a GPU the arithmetic is
    bfloat16 (autocast). Weights frozen under adapters are bfloat16 there.
    """

    cpu: bool
    weights: str
    bf16: bool = False
    fp16: bool = False

    @property
    def key(self) -> tuple[bool, str, bool, bool]:
        return self.cpu, self.weights, self.bf16, self.fp16

    @classmethod
    def of(cls, device: str, dtype: str, *, adapters_only: bool) -> Precision:
        """The precision for ``device`` (auto, cpu, cuda, mps) and ``dtype`` (auto, float32, bfloat16, float16).

        Raises:
            ConfigError: a device that isn't there, or float16 without CUDA.
        """
        import torch

        cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
        if (device == "cuda" and not cuda) or (device == "mps" and not mps):
            raise ConfigError(f"device: there is no {device} device here; use auto or cpu")
        gpu = device != "cpu" and cuda
        if dtype == "float16" and not gpu:
            raise ConfigError("dtype: training in float16 needs a CUDA device; use float32 or bfloat16")
        bf16 = dtype == "bfloat16" or (dtype == "auto" and gpu and torch.cuda.is_bf16_supported())
        frozen_small = gpu and bf16 and adapters_only
        return cls(
            cpu=device == "cpu" or not (cuda or mps),
            weights="bfloat16" if frozen_small else "float32",
            bf16=bf16,
            fp16=dtype == "float16",
        )

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        """On a CPU, ``count`` threads while the block runs."""
        import torch

        before = torch.get_num_threads()
        if self.cpu:
            torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
