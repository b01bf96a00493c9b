"""Training of one demo model: a curriculum over packed questions, AdamW, a cosine, bf16 arithmetic on fp32 weights."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, layer_norm
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo_models.corpus import Questions, Stage
from demo_models.packing import Batch, Pack, collate
from demo_models.tokenizer import ANSWERS, END, PAD, save_tokenizer, token_id
from demo_models.writer import MEANINGS, Writer
from raif.demo.truth import ATTRIBUTES

Kind = Literal["judge", "policy"]
PROBED = 3  # the layer whose output the probes read
PROBE_WEIGHT = 0.5  # falls to nothing at 80 % of the steps
START = 0.13  # the share of a judge's steps that go to single responses and to copying, before anything is compared


@dataclass(frozen=True)
class Recipe:
    """Size and schedule of one model."""

    hidden: int
    layers: int
    inner: int
    steps: int
    rate: float
    seed: int


RECIPES: dict[Kind, Recipe] = {
    "judge": Recipe(hidden=128, layers=6, inner=384, steps=3800, rate=2.2e-3, seed=11),
    "policy": Recipe(hidden=128, layers=5, inner=384, steps=2400, rate=2.5e-3, seed=12),
}


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with heads of 32, tied embeddings and room for 4,096 positions, freshly drawn from the seed."""
    torch.manual_seed(recipe.seed)
    heads = recipe.hidden // 32
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        intermediate_size=recipe.inner,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=32,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        pad_token_id=token_id(tokenizer, PAD),
        eos_token_id=token_id(tokenizer, END),
        bos_token_id=None,
        initializer_range=0.04,
    )
    return LlamaForCausalLM(config)


def stage_at(progress: float) -> Stage:
    """The curriculum: positive wordings and near-minimal pairs first, then both polarities and pairs of every kind."""
    if progress < START:
        return Stage(inverted=0.0, meaningless=0.0, minimal=1.0, simple=0.8)
    if progress < 0.25:
        return Stage(inverted=0.0, meaningless=0.06, minimal=0.7, simple=0.8 - 3 * progress)
    if progress < 0.45:
        return Stage(inverted=0.5, meaningless=0.10, minimal=0.6, simple=0.1)
    return Stage(inverted=0.42, meaningless=0.18, minimal=0.35)


def draw(kind: Kind, questions: Questions, progress: float) -> list[list[Pack]]:
    """The packs of one step, in micro-batches of like length. Principles are read in both polarities from the first."""
    questions.stage = Stage(inverted=0.5, meaningless=0.12)
    reading = [questions.read(12) for _ in range(5 if progress < START else 1 if progress < 0.7 else 0)]
    questions.stage = stage_at(progress) if kind == "judge" else Stage(0.1, 0.05, simple=max(0.0, 0.8 - 3 * progress))
    if kind == "judge" and progress < START:
        singles = [questions.single(score=3, critique=3, revise=1) for _ in range(4)]
        return [[questions.answered(3) for _ in range(8)], singles, reading]
    if kind == "judge":
        copying = [questions.answered(2) for _ in range(2)]
        late = progress > 0.7
        side = [questions.single(score=1 if late else 2, critique=2, revise=3 if late else 2) for _ in range(3)]
        packs = [[questions.pair(5) for _ in range(4)], [*side, questions.checked(4)], [*reading, *copying]]
    else:
        singles = [questions.single(score=1, critique=3, revise=2) for _ in range(6)]
        packs = [[questions.answered(3) for _ in range(10)], singles, reading]
    return [each for each in packs if each]


class Probes(torch.nn.Module):
    """Readers of a middle layer, thrown away when training ends: they make it say early what is needed later.

    Where a response ends, they read what it does; where a prompt ends, what its principle asks for. Without them the
    answers stay at chance for thousands of steps: that an answer depends on both at once gives no slope to follow.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.meaning = torch.nn.Linear(hidden, MEANINGS)
        self.traits = torch.nn.Linear(hidden, len(ATTRIBUTES))
        self.signs = torch.nn.Linear(hidden, 2)

    def forward(self, layers: Sequence[torch.Tensor], batch: Batch) -> tuple[torch.Tensor, dict[str, list[float]]]:
        """Summed loss over the batch's probe targets, and whether each was met."""
        states = layers[PROBED].float()
        row, at, wanted = batch.meanings[:, :3].unbind(1)
        read = self.meaning(layer_norm(states[row, at], states.shape[-1:]))
        loss = cross_entropy(read, wanted, reduction="sum") if len(wanted) else read.sum()
        hits = {"meaning": (read.argmax(-1) == wanted).float().tolist(), "traits": list[float]()}
        early = layers[PROBED - 1].float()[row, at]
        signs = batch.meanings[:, 3:]
        read = self.signs(layer_norm(early, early.shape[-1:]))
        loss = loss + masked(read, signs.float())
        hits["signs"] = ((read > 0) == (signs > 0))[signs >= 0].float().tolist()
        if len(batch.traits):
            row, at = batch.trait_at.unbind(1)
            read = self.traits(layer_norm(states[row, at], states.shape[-1:]))
            loss = loss + masked(read, batch.traits)
            hits["traits"] = ((read > 0) == (batch.traits > 0))[batch.traits >= 0].float().tolist()
        return loss, hits


def masked(read: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Summed binary cross-entropy over the targets that are 1 or 0."""
    losses = binary_cross_entropy_with_logits(read, wanted.clamp(min=0), reduction="none")
    return (losses * (wanted >= 0)).sum()


def loss_of(
    model: LlamaForCausalLM, probes: Probes, batch: Batch, branches: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, list[float]]]:
    """Weighted cross-entropy of the answers, a branch; the logits they come from; the probes' loss and hits."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask = batch.mask.to(torch.bfloat16)
        out = model.model(
            input_ids=batch.ids,
            attention_mask=mask,
            position_ids=batch.positions,
            use_cache=False,
            output_hidden_states=True,
        )
        logits = model.lm_head(out.last_hidden_state[batch.rows, batch.at]).float()
    loss = (cross_entropy(logits, batch.tokens, reduction="none") * batch.weights).sum() / branches
    probed, hits = probes(out.hidden_states, batch)
    return loss, logits, probed / branches, hits


def train(
    kind: Kind,
    tokenizer: PreTrainedTokenizerFast,
    log: Callable[[str], None],
    recipe: Recipe | None = None,
    checkpoint: Callable[[LlamaForCausalLM], None] | None = None,
) -> LlamaForCausalLM:
    """Train one model from nothing; equal seeds and machines give equal weights."""
    recipe = recipe or RECIPES[kind]
    model = new_model(recipe, tokenizer)
    log(f"{kind}: {sum(p.numel() for p in model.parameters()):,} parameters, {recipe}")
    probes = Probes(recipe.hidden)
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    plain += probes.parameters()
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98), fused=True)
    questions = Questions(Writer(tokenizer), recipe.seed)
    pad = token_id(tokenizer, PAD)
    meter = Meter(tokenizer)
    began = time.monotonic()
    for step in range(recipe.steps):
        progress = step / recipe.steps
        warm = min(1.0, (step + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        drawn = draw(kind, questions, progress)
        branches = sum(bool(b.targets) for packs in drawn for pack in packs for b in pack.branches)
        for packs in drawn:
            batch = collate(packs, pad)
            loss, logits, probed, hits = loss_of(model, probes, batch, branches)
            (loss + PROBE_WEIGHT * max(0.0, 1 - progress / 0.8) * probed).backward()  # type: ignore[no-untyped-call]
            meter.add(batch, logits.detach(), hits)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0:
            log(f"{kind} step {step + 1} {meter.line()} {time.monotonic() - began:.0f} s")
        if checkpoint and (step + 1) % 250 == 0:
            checkpoint(model)
    model.eval()  # type: ignore[no-untyped-call]
    return model


class Meter:
    """Running accuracy of decided single-token answers by family, and the loss of written ones, since the last line."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        ids = {answer: token_id(tokenizer, answer) for answer in ANSWERS}
        families = {"A": "ab", "B": "ab", "TIE": "tie", "YES": "check", "NO": "check"}
        self.family = {ids[answer]: families.get(answer, "score") for answer in ANSWERS}
        self.seen: dict[str, list[float]] = defaultdict(list)

    def add(self, batch: Batch, logits: torch.Tensor, hits: dict[str, list[float]]) -> None:
        for name, values in hits.items():
            self.seen[name] += values
        right = (logits.argmax(-1) == batch.tokens).tolist()
        losses = cross_entropy(logits, batch.tokens, reduction="none").tolist()
        for token, weight, hit, loss in zip(batch.tokens.tolist(), batch.weights.tolist(), right, losses, strict=True):
            if weight >= 0.65:
                self.seen[self.family.get(token, "opening" if weight == 1.0 else "object")].append(float(hit))
            elif token not in self.family and weight < 0.65 and weight != 0.05:
                self.seen["text"].append(loss)

    def line(self) -> str:
        means = {name: sum(values) / len(values) for name, values in sorted(self.seen.items()) if values}
        self.seen.clear()
        return " ".join(f"{name} {value:.3f}" for name, value in means.items())


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Weights in bf16, configuration and tokenizer; the model itself is left in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    copy: LlamaForCausalLM = LlamaForCausalLM(model.config).to(torch.bfloat16)  # type: ignore[arg-type]
    copy.load_state_dict(state)
    copy.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        top_k=0,
        top_p=1.0,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    copy.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
