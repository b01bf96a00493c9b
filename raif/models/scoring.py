"""What a causal language model says next after many prompts that begin alike.

Prompts that share their beginnings go through the model as the rows of a prefix tree (``raif.models.tree``), each row
in one pass under a mask that lets a token see its ancestors and itself. That is exact where all layers attend to the
sequence, whole or in a window, and go by the positions and the mask that they are given. What a model says of itself
decides whether it is tried, and a probe when the model is opened whether it is right: tree and plain batches must
agree. Where either fails, prompts run in plain, left-padded batches; ``Scorer.way`` says which it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from raif.errors import ModelError
from raif.models.base import ModelInfo
from raif.models.batching import batches, pad
from raif.models.loading import Loaded
from raif.models.tree import Row, plan
from raif.records import conversation

ROW_TOKENS, LEAST_ROW = 128, 2048
"""The most tokens in a row: that many for each prompt of a batch, about what a batch of short prompts holds; but no
fewer than would keep a comparison together. A mask of 2,048 tokens takes 16 MB."""
GPU_ROW_COST = 512.0
"""What starting a row costs on a GPU, in tokens: it would otherwise idle between launches."""
PAIR_COST = 1 / 16
"""What comparing two tokens costs, as a share of what one costs to put through, for each unit of a model's width. By
multiplications it is a sixth: 4 a unit, where a layer's matrices hold about 12 for each squared unit and take 24. It is
set lower, so that the orders of a comparison stay together, which at the usual lengths was measured to be no slower."""
TOLERANCES = {torch.float32: 1e-5, torch.float16: 0.01, torch.bfloat16: 0.05}
"""How far (total variation) tree and plain may be apart on the probe, lest the tree be given up. Measured on small
models: rounding moves 1e-6 in float32, .002 in float16, .015 in bfloat16, as much as another plain batch does; a mask
that is merely causal moves .2 to .9."""
PROBE_WINDOW = 8
"""Tokens of a sliding window while a model is probed."""

_STEM = "Which of these do you like best: red, green, or blue like the sea?"
_PROBES = (_STEM, f"{_STEM} Say why.", f"{_STEM} Say why not, in a word.", "Which of them is it?")


def unfit(model: Any, accepts: frozenset[str]) -> str | None:
    """Why no tree is tried with a model, in a word or two; None where nothing that it says of itself forbids one."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if getattr(model, "_is_stateful", False):
        return "recurrent layers"
    if other := sorted(kinds - {"full_attention", "sliding_attention"}):
        return f"{other[0]} layers"
    if getattr(model.config, "_attn_implementation", None) not in ("sdpa", "eager"):
        return f"{getattr(model.config, '_attn_implementation', 'unknown')} kernels"
    # Older architectures build their masks themselves, from places in the row and not from what they are given.
    if "position_ids" not in accepts or not getattr(model, "_supports_attention_backend", False):
        return "an attention of its own"
    return None


def has_window(config: Any) -> bool:
    """Whether some layers attend to the last ``config.sliding_window`` tokens alone."""
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    return bool(window and ("sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)))


def reach(config: Any) -> int | None:
    """The most tokens of a sequence whose positions are rotated as a shorter one's; None where all are.

    Rotary positions of the longrope kind change for all sequences of a pass once one of them outgrows the original
    context: longer and shorter ones must not meet.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    for settings in (rope, *rope.values()):
        if isinstance(settings, Mapping) and settings.get("rope_type") == "longrope":
            return int(settings.get("original_max_position_embeddings") or config.original_max_position_embeddings)
    return None


def tree_mask(row: Row, dtype: torch.dtype, device: torch.device, window: int | None = None) -> torch.Tensor:
    """The additive mask [1, 1, T, T] of a row: 0 where a token sees another, the number type's least elsewhere.

    A boolean mask would be added as zeros and ones by models that compute their attention step by step. ``window`` is
    how many tokens, itself included, a token sees at most.
    """
    size, least = len(row.ids), torch.finfo(dtype).min
    mask = torch.full((size, size), least, dtype=dtype, device=device)
    for branch in row.branches:
        for start, stop in branch.seen:
            mask[branch.start : branch.stop, start:stop] = 0
        mask[branch.start : branch.stop, branch.start : branch.stop].triu_(1)  # 0 for the token itself and before
    if window is not None:
        depth = torch.tensor(row.positions, device=device)
        mask.masked_fill_(depth[:, None] - depth >= window, least)
    return mask[None, None]


@contextmanager
def narrowed(config: Any) -> Iterator[None]:
    """For the time of a probe, a sliding window so small that the probe outgrows it."""
    if not has_window(config):
        yield
        return
    window = config.sliding_window
    config.sliding_window = min(window, PROBE_WINDOW)
    try:
        yield
    finally:
        config.sliding_window = window


class Scorer:
    """Distributions over the next token, for many prompts.

    Args:
        loaded: the model; it is probed here.
        batch_size: prompts in a plain batch; a row of a tree holds up to ``ROW_TOKENS`` times as many tokens.
    """

    def __init__(self, loaded: Loaded, batch_size: int) -> None:
        self.loaded, self.batch_size = loaded, batch_size
        self._accepts = frozenset(inspect.signature(loaded.model.forward).parameters)
        self._config = loaded.model.config.get_text_config()
        self._reach = reach(self._config)
        self.way = self._choose()
        """``tree``, or ``plain`` and the reason."""

    def distributions(self, prompts: Mapping[int, Sequence[int]]) -> Iterator[tuple[Sequence[int], torch.Tensor]]:
        """Some of the keys of ``prompts`` (token ids), and the distributions [n, V] over what follows each.

        Raises:
            ModelError: logits that are not numbers.
        """
        far = {key for key, ids in prompts.items() if self._reach is not None and len(ids) > self._reach}
        for part in (sorted(prompts.keys() - far), sorted(far)):
            if self.way == "tree":
                for row in self.rows([prompts[key] for key in part]):
                    yield [part[member] for member in row.members], self.along(row)
            else:
                for batch in batches({key: prompts[key] for key in part}, self.batch_size):
                    yield batch, self.plain([prompts[key] for key in batch])

    def rows(self, prompts: Sequence[Sequence[int]]) -> list[Row]:
        """The rows in which prompts go through the model, as suits its size and its device."""
        width = getattr(self._config, "hidden_size", 1024)
        return plan(
            prompts,
            budget=max(LEAST_ROW, ROW_TOKENS * self.batch_size),
            pair_cost=PAIR_COST / width,
            row_cost=GPU_ROW_COST if self.loaded.device.type != "cpu" else 0.0,
        )

    def along(self, row: Row) -> torch.Tensor:
        """The distributions over what follows each member of a row: float32 on the CPU, [members, V]."""
        model, device = self.loaded.model, self.loaded.device
        ends = sorted(set(row.last))
        arguments: dict[str, Any] = {
            "input_ids": torch.tensor([row.ids], device=device),
            "position_ids": torch.tensor([row.positions], device=device),
            "attention_mask": None if row.is_path else self._masks(row),
            "use_cache": False,
        }
        if "logits_to_keep" in self._accepts:
            arguments["logits_to_keep"] = torch.tensor(ends, device=device)
            logits = model(**arguments).logits[0]
        else:
            logits = model(**arguments).logits[0, ends]
        return self._probabilities(logits)[[ends.index(last) for last in row.last]]

    def _masks(self, row: Row) -> torch.Tensor | dict[str, torch.Tensor]:
        """A row's mask, or one for each kind of layer."""
        model, device = self.loaded.model, self.loaded.device
        full = tree_mask(row, model.dtype, device)
        if not has_window(self._config):
            return full
        near = tree_mask(row, model.dtype, device, self._config.sliding_window)
        kinds = getattr(self._config, "layer_types", None)
        return {"full_attention": full, "sliding_attention": near} if kinds else near

    def plain(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """The distributions over what follows each prompt, from one padded batch: float32 on the CPU, [B, V]."""
        ids, mask = pad(prompts, self.loaded)
        arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        if "position_ids" in self._accepts:
            arguments["position_ids"] = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        if "logits_to_keep" in self._accepts:
            arguments["logits_to_keep"] = 1
        return self._probabilities(self.loaded.model(**arguments).logits[:, -1])

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        if torch.isnan(logits).any():
            raise ModelError(f"{self.loaded.info.spec}: the logits are not numbers; open it with dtype float32")
        return logits.softmax(dim=-1).cpu()

    def _choose(self) -> str:
        if reason := unfit(self.loaded.model, self._accepts):
            return f"plain ({reason})"
        try:
            with torch.inference_mode():
                apart = self.probe()
        except Exception:  # transformers raises whatever its parts raise: such a model takes no mask of ours
            return "plain (it takes no tree mask)"
        if not apart <= TOLERANCES.get(self.loaded.model.dtype, 1e-5):
            return f"plain (a tree changes probabilities by {apart:.1g})"
        return "tree"

    def probe(self) -> float:
        """How far apart tree and plain are on a few prompts: the most that the probability of any answer differs by.

        That is the total variation distance, of the prompt where it is largest.
        """
        prompts = [self.loaded.chat.encode(conversation(text)) for text in _PROBES]
        (row,) = plan(prompts, budget=sum(map(len, prompts)), pair_cost=0.0)
        with narrowed(self._config):
            apart = self.along(row) - self.plain([prompts[member] for member in row.members])
        return float(apart.abs().sum(dim=-1).max()) / 2


def with_way(info: ModelInfo, way: str) -> ModelInfo:
    """``info`` that says what becomes of prompts' common prefixes. No cache key holds it: the answers are the same."""
    return replace(info, details={**info.details, "prefixes": way})
