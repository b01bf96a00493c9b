"""Trees in the place of plain prompts: the same probabilities, and the plain way where a model takes no tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from raif.errors import ModelError
from raif.models import scoring
from raif.models.base import ModelInfo
from raif.models.chat import ChatFormat
from raif.models.loading import Loaded
from raif.models.scoring import Scorer, reach, tree_mask
from raif.models.tree import lay_out
from support.tiny import make_tokenizer

WINDOW = 12
SIZE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {"head_dim": 32}
WINDOWED = {"sliding_window": WINDOW}
HYBRID = {**WINDOWED, **HEADS, "layer_types": ["sliding_attention", "full_attention"]}
FULL = {
    "Llama": {},
    "Qwen2": {},
    "Gemma": HEADS,
    "GPTNeoX": {},
}
"""Full attention in every layer."""
SLIDING = {"Mistral": WINDOWED, "Gemma2": {**HYBRID, "query_pre_attn_scalar": 32}, "Gemma3": HYBRID, "Phi3": WINDOWED}
"""A sliding window, which the prompts below outgrow, in all or in half of the layers; Gemma 2 has no SDPA."""
RECURRENT = {"Mamba": {}, "Jamba": {"num_experts": 2}}
OWN = {
    "GPTNeo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "window_size": WINDOW, "num_heads": 2}
}
"""A local attention by places in the row, whatever mask it is given."""


def make(architecture: str, extra: dict[str, Any]) -> Loaded:
    """A random model of an architecture, as ``raif.models.loading`` would have opened it."""
    tokenizer = make_tokenizer("qwen2")
    config = getattr(transformers, architecture + ("TextConfig" if architecture == "Gemma3" else "Config"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = config(**SIZE, vocab_size=len(tokenizer), **extra)
        model = getattr(transformers, f"{architecture}ForCausalLM")(config).eval()
    info = ModelInfo(f"hf:{architecture}", architecture)
    return Loaded(model, ChatFormat(tokenizer, "it"), torch.device("cpu"), (2,), 0, len(tokenizer), 512, info)


def comparison(seed: int, principles: int = 3) -> list[list[int]]:
    """Two orders of a comparison under some principles: random tokens, of other lengths in every part."""
    draw = torch.Generator().manual_seed(seed)

    def part(length: int) -> list[int]:
        return torch.randint(3, 300, (length,), generator=draw).tolist()

    talk, first, second = part(30), part(25), part(41)
    asked = [part(6 + 3 * number) for number in range(principles)]
    return [[*talk, *one, *other, *last] for one, other in ((first, second), (second, first)) for last in asked]


def alone(loaded: Loaded, ids: list[int]) -> torch.Tensor:
    """What the model says to one prompt: no padding, no mask, no positions."""
    with torch.inference_mode():
        return loaded.model(torch.tensor([ids]), use_cache=False).logits[0, -1].float().softmax(dim=-1)


def farthest(scorer: Scorer, prompts: list[list[int]]) -> float:
    """The largest total variation distance between the scorer's distributions and the model's own."""
    found: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        for keys, rows in scorer.distributions(dict(enumerate(prompts))):
            assert rows.dtype is torch.float32
            found |= dict(zip(keys, rows, strict=True))
    assert sorted(found) == list(range(len(prompts)))
    return max(float((found[i] - alone(scorer.loaded, ids)).abs().sum()) / 2 for i, ids in enumerate(prompts))


def passes(scorer: Scorer, prompts: list[list[int]]) -> list[tuple[int, int]]:
    """The shapes of the model's inputs while the prompts are scored."""
    shapes: list[tuple[int, int]] = []

    def seen(_: Any, __: Any, arguments: dict[str, Any]) -> None:
        shapes.append(tuple(arguments["input_ids"].shape))

    hook = scorer.loaded.model.register_forward_pre_hook(seen, with_kwargs=True)
    with torch.inference_mode():
        list(scorer.distributions(dict(enumerate(prompts))))
    hook.remove()
    return shapes


PROMPTS = [*comparison(1), *comparison(2), comparison(1)[0], comparison(1)[0][:60], [7]]
"""Two comparisons, one prompt twice, the beginning of one, and a stranger."""


@pytest.mark.parametrize(("architecture", "extra"), [*FULL.items(), *SLIDING.items()])
def test_a_tree_says_what_the_plain_way_says(architecture: str, extra: dict[str, Any]) -> None:
    scorer = Scorer(make(architecture, extra), batch_size=8)
    assert scorer.way == "tree"
    assert farthest(scorer, PROMPTS) < 1e-5
    # 30 of talk, twice 66 of responses, twice 6 + 9 + 12 of principles: 216 tokens a comparison, and the stranger
    assert sorted(passes(scorer, PROMPTS)) == [(1, 1), (1, 216), (1, 216)]


@pytest.mark.parametrize(("architecture", "extra"), [*RECURRENT.items(), *OWN.items()])
def test_what_takes_no_tree_goes_the_plain_way(architecture: str, extra: dict[str, Any]) -> None:
    scorer = Scorer(make(architecture, extra), batch_size=8)
    reason = "an attention of its own" if architecture in OWN else "recurrent layers"
    assert scorer.way == f"plain ({reason})"
    assert farthest(scorer, PROMPTS) < 5e-5  # experts and long recurrences round more than attention
    assert [rows for rows, _ in passes(scorer, PROMPTS)] == [8, 7]


@pytest.mark.parametrize(
    "blunder",
    [
        lambda row, dtype, device, window=None: tree_mask(row, dtype, device, window) == 0,  # boolean, not additive
        lambda row, dtype, device, window=None: tree_mask(row, dtype, device),  # the window is forgotten
        lambda row, dtype, device, window=None: torch.zeros(1, 1, len(row.ids), len(row.ids)),  # all see all
    ],
)
def test_the_probe_sees_a_wrong_mask(monkeypatch: pytest.MonkeyPatch, blunder: Callable[..., torch.Tensor]) -> None:
    loaded = make("Gemma2", SLIDING["Gemma2"])  # eager, and half of its layers have a window
    monkeypatch.setattr(scoring, "tree_mask", blunder)
    scorer = Scorer(loaded, batch_size=8)
    assert scorer.way.startswith("plain (a tree changes probabilities by 0.")
    assert farthest(scorer, PROMPTS) < 1e-5
    assert loaded.model.config.sliding_window == WINDOW  # the probe's own is gone


def test_a_model_that_breaks_on_a_tree_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "unfit", lambda model, accepts: None)
    assert Scorer(make("Mamba", {}), batch_size=8).way == "plain (it takes no tree mask)"


def test_other_kernels_and_layers_are_not_tried() -> None:
    loaded = make("Llama", {})
    loaded.model.config._attn_implementation = "flash_attention_2"
    assert Scorer(loaded, batch_size=8).way == "plain (flash_attention_2 kernels)"
    loaded = make("Qwen2", {})
    loaded.model.config.layer_types = ["full_attention", "linear_attention"]
    assert Scorer(loaded, batch_size=8).way == "plain (linear_attention layers)"


def test_a_lower_precision_has_its_own_tolerance() -> None:
    loaded = make("Llama", {})
    loaded.model.to(torch.bfloat16)
    scorer = Scorer(loaded, batch_size=8)
    assert scorer.way == "tree"
    with torch.inference_mode():
        assert 1e-5 < scorer.probe() < 0.05


def test_the_mask_by_hand() -> None:
    # 1 2 ┬ 3 4      places 0 1 │ 2 3
    #     └ 5                   │ 4
    row = lay_out([[1, 2, 3, 4], [1, 2, 5]], [0, 1])
    seen = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]
    mask = tree_mask(row, torch.float32, torch.device("cpu"))
    least = torch.finfo(torch.float32).min
    assert mask.tolist() == [[[[0.0 if cell else least for cell in line] for line in seen]]]
    # A window of 2: itself and its parent. Place 4 has depth 2 and sees depth 1, which is place 1.
    seen = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1]]
    mask = tree_mask(row, torch.float32, torch.device("cpu"), window=2)
    assert mask.tolist() == [[[[0.0 if cell else least for cell in line] for line in seen]]]


def test_sequences_that_are_rotated_otherwise_never_meet() -> None:
    # Past the original context, longrope rotates every sequence of a pass by other angles.
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 16, "long_factor": [4.0] * 16, "factor": 4.0}
    extra = {"rope_parameters": {**rope, "original_max_position_embeddings": 100, "rope_theta": 10000.0}}
    loaded = make("Phi3", {**extra, "original_max_position_embeddings": 100})
    assert reach(loaded.model.config) == 100
    assert reach(make("Llama", {}).model.config) is None
    prompts = comparison(1, principles=5)  # 102, 105, 108, 111 and 114 tokens, twice
    short = [ids[:95] for ids in prompts[:2]]
    scorer = Scorer(loaded, batch_size=8)
    assert scorer.way == "tree"
    assert farthest(scorer, [*prompts, *short]) < 1e-5
    scorer.way = "plain"
    assert farthest(scorer, [*prompts, *short]) < 1e-5


def test_rows_are_bounded_by_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(make("Llama", {}), batch_size=1)
    assert passes(scorer, comparison(1)) == [(1, 216)]
    monkeypatch.setattr(scoring, "LEAST_ROW", 0)
    assert passes(scorer, comparison(1)) == [(1, 123), (1, 123)]  # an order is 96 + 6 + 9 + 12 tokens; a row, 128
    assert farthest(scorer, comparison(1)) < 1e-5


def test_equal_inputs_give_equal_bits() -> None:
    def bits() -> list[list[float]]:
        scorer = Scorer(make("Llama", {}), batch_size=8)
        with torch.inference_mode():
            return [row for _, rows in scorer.distributions(dict(enumerate(PROMPTS))) for row in rows.tolist()]

    assert bits() == bits()


def test_weights_that_are_no_numbers_are_found_when_they_are_used() -> None:
    loaded = make("Llama", {})
    with torch.no_grad():
        loaded.model.lm_head.weight.fill_(torch.nan)
    scorer = Scorer(loaded, batch_size=8)
    with pytest.raises(ModelError, match="the logits are not numbers"):
        list(scorer.distributions({0: [5, 6]}))
