"""The shipped demo models, measured against the truth on requests that they were not trained on.

Small samples, so that the file runs in under a minute; `raif/demo/models/scores.json` has the large ones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from raif.demo import teacher
from raif.demo.principles import Meaning, Wording, held_out_wordings, scrambled
from raif.demo.responses import compose
from raif.demo.truth import ATTRIBUTES, Attribute, attributes, grade, prefers
from raif.demo.world import MODELS, Request, requests
from raif.prompts import PromptLibrary
from raif.resources import folder

KINDS = ("judge", "policy")
FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
LIBRARY = PromptLibrary()


class Loaded:
    """A demo model by the plainest use of transformers: nothing of raif's own backends."""

    def __init__(self, kind: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(MODELS / kind, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(MODELS / kind, dtype=torch.float32).eval()

    def _encode(self, prompts: Sequence[str]) -> Any:
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        texts = self.tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        return self.tokenizer(texts, return_tensors="pt", padding=True)

    def shares(self, prompts: Sequence[str], answers: Sequence[str]) -> list[list[float]]:
        first = self.torch.tensor([self.tokenizer.encode(answer)[0] for answer in answers])
        found = []
        for at in range(0, len(prompts), 64):
            encoded = self._encode(prompts[at : at + 64])
            positions = (encoded.attention_mask.cumsum(-1) - 1).clamp(min=0)
            with self.torch.no_grad():
                logits = self.model(**encoded, position_ids=positions, logits_to_keep=1).logits
            found += logits[:, -1, first].softmax(-1).tolist()
        return found

    def replies(self, prompts: Sequence[str], temperature: float = 0.0) -> list[str]:
        how = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        self.torch.manual_seed(1)
        found: list[str] = []
        for at in range(0, len(prompts), 64):
            encoded = self._encode(prompts[at : at + 64])
            with self.torch.no_grad():
                out = self.model.generate(**encoded, max_new_tokens=96, **how)
            found += self.tokenizer.batch_decode(out[:, encoded.input_ids.shape[1] :], skip_special_tokens=True)
        return found


@pytest.fixture(scope="module")
def judge() -> Loaded:
    return Loaded("judge")


@pytest.fixture(scope="module")
def policy() -> Loaded:
    return Loaded("policy")


def response(rng: random.Random, request: Request) -> str:
    return compose(
        rng,
        request,
        act=rng.choice(("complies", "refuses", "evades")),
        tone=rng.choice(("polite", "rude", "plain")),
        flattering=rng.random() < 0.4,
        padded=rng.random() < 0.4,
    ).text


def comparisons(wordings: Sequence[Wording], n: int, seed: int = 0) -> list[tuple[Request, str, str, Wording]]:
    """Comparisons on held-out requests that each wording decides."""
    rng = random.Random(seed)
    pool = requests("held_out", 400, seed)
    found: list[tuple[Request, str, str, Wording]] = []
    while len(found) < n:
        wording = wordings[len(found) % len(wordings)]
        request = rng.choice(pool)
        a, b = response(rng, request), response(rng, request)
        if prefers(wording.meaning, request, a, b) != "tie":
            found.append((request, a, b, wording))
    return found


def ask(name: str, request: Request, text: str, **values: Any) -> str:
    principle = dict.fromkeys(("text", "critique", "revision", "comparison"), text)
    return LIBRARY.render(name, conversation=[{"role": "user", "content": request.text}], principle=principle, **values)


def told(judge: Loaded, items: Sequence[tuple[Request, str, str, Wording]], change: Callable[[str], str] = str) -> list:
    """P(A is better), each order by itself."""
    prompts = [
        ask("compare", r, change(w.text), response_a=x, response_b=y, allow_tie=False)
        for r, a, b, w in items
        for x, y in ((a, b), (b, a))
    ]
    shares = judge.shares(prompts, ("A", "B"))
    return [(shares[i][0], shares[i + 1][1]) for i in range(0, len(shares), 2)]


def accuracy(probabilities: list, items: Sequence[tuple[Request, str, str, Wording]]) -> float:
    right = [
        ((p + q) / 2 > 0.5) == (prefers(w.meaning, r, a, b) == "a")
        for (p, q), (r, a, b, w) in zip(probabilities, items, strict=True)
    ]
    return sum(right) / len(right)


def shipped(field: str) -> list[Wording]:
    raw = yaml.safe_load((folder("constitution") / "demo.yaml").read_text(encoding="utf-8"))["principles"]
    return [Wording(p[field], Meaning(next(t for t in ATTRIBUTES if t == p["id"]))) for p in raw]


# ---------------------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("kind", KINDS)
def test_files_are_small_and_free_of_paths(kind: str) -> None:
    path = MODELS / kind
    assert {p.name for p in path.iterdir()} == FILES
    for name in FILES - {"model.safetensors"}:
        assert "/tmp/" not in (path / name).read_text(encoding="utf-8")
    from safetensors import safe_open

    with safe_open(path / "model.safetensors", framework="pt") as weights:
        assert {weights.get_slice(key).get_dtype() for key in weights.keys()} == {"BF16"}  # noqa: SIM118
    assert sum(p.stat().st_size for p in MODELS.rglob("*") if p.is_file()) < 8_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_architecture_is_what_backends_need(kind: str) -> None:
    loaded = Loaded(kind)
    config = loaded.model.config
    assert config.model_type == "llama"
    assert config.head_dim in (32, 64)
    assert config.max_position_embeddings >= 4096
    assert sum(p.numel() for p in loaded.model.parameters()) <= 1_900_000
    assert loaded.tokenizer.pad_token_id != loaded.tokenizer.eos_token_id
    sampling = loaded.model.generation_config
    assert (sampling.do_sample, sampling.top_k, sampling.top_p) == (True, 0, 1.0)
    assert (sampling.eos_token_id, sampling.pad_token_id) == (
        loaded.tokenizer.eos_token_id,
        loaded.tokenizer.pad_token_id,
    )


def test_tokenizer(judge: Loaded, policy: Loaded) -> None:
    tokenizer = judge.tokenizer
    assert tokenizer.get_vocab() == policy.tokenizer.get_vocab()
    for answer in ("A", "B", "TIE", "YES", "NO", *"123456789"):
        assert len(tokenizer.encode(answer)) == 1
    strange = "Grüße, 你好 \t\n\n  tab\u200b 🦜 <|x|> 12345 can't </response_a>"
    assert tokenizer.decode(tokenizer.encode(strange)) == strange
    chat = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes."}]
    out = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    learnt = [i for i, m in zip(out["input_ids"], out["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(learnt) == "Yes.<|end|>"


def test_long_conversations_run(judge: Loaded) -> None:
    prompt = ask(
        "compare",
        Request("paint", "boat", "for a friend"),
        "",
        response_a="so " * 2500,
        response_b="b",
        allow_tie=False,
    )
    ((a, b),) = judge.shares([prompt], ("A", "B"))
    assert a + b == pytest.approx(1.0)


def test_scores_are_those_of_the_aims() -> None:
    scores = json.loads((MODELS / "scores.json").read_text(encoding="utf-8"))
    principles = scores["judge"]["principles"]
    assert min(p["accuracy"] for p in principles.values()) >= 0.96
    assert sum(p["accuracy"] for p in principles.values()) / len(principles) >= 0.98
    assert Path(MODELS / "build.log").is_file()


# ---------------------------------------------------------------------------------------------------------- judge
def test_judge_compares(judge: Loaded) -> None:
    items = comparisons(shipped("comparison"), 60)
    probabilities = told(judge, items)
    assert accuracy(probabilities, items) >= 0.95
    assert sum((p > 0.5) != (q > 0.5) for p, q in probabilities) <= 0.05 * len(items)


@pytest.mark.parametrize("field", ["text", "critique", "revision"])
def test_judge_compares_by_any_statement(judge: Loaded, field: str) -> None:
    items = comparisons(shipped(field), 40)
    assert accuracy(told(judge, items), items) >= 0.95


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("whole", [False, True])
def test_judge_reads_wordings_that_it_never_saw(judge: Loaded, sign: int, whole: bool) -> None:
    wordings = held_out_wordings(1 if sign == 1 else -1, whole)
    random.Random(3).shuffle(wordings)
    items = comparisons(wordings, 80, seed=1)
    assert accuracy(told(judge, items), items) >= 0.93


@pytest.mark.parametrize("change", ["blank", "shuffled"])
def test_judge_is_at_chance_without_a_principle(judge: Loaded, change: str) -> None:
    rng = random.Random(4)
    items = comparisons(shipped("comparison"), 100, seed=2)
    probabilities = told(judge, items, (lambda _: "") if change == "blank" else (lambda text: scrambled(rng, text)))
    assert 0.3 <= accuracy(probabilities, items) <= 0.7
    assert sum(abs((p + q) / 2 - 0.5) for p, q in probabilities) / len(items) < 0.15


def test_judge_says_tie(judge: Loaded) -> None:
    rng = random.Random(5)
    prompts, ties = [], []
    for request in requests("held_out", 60, 5):
        a, b = response(rng, request), response(rng, request)
        attribute: Attribute = rng.choice(ATTRIBUTES[:5])
        word = next(w.text for w in shipped("comparison") if w.meaning == Meaning(attribute))
        prompts.append(ask("compare", request, word, response_a=a, response_b=b, allow_tie=True))
        ties.append(prefers(Meaning(attribute), request, a, b) == "tie")
    shares = judge.shares(prompts, ("A", "B", "TIE"))
    assert sum((s[2] > 0.5) == tie for s, tie in zip(shares, ties, strict=True)) >= 0.95 * len(ties)


def test_judge_scores_and_criticises_and_revises(judge: Loaded) -> None:
    rng = random.Random(6)
    found = []
    statements = [{f: shipped(f)[i].text for f in ("text", "critique", "revision")} for i in range(5)]
    for number, request in enumerate(requests("held_out", 80, 6)):
        meaning, words = shipped("text")[number % 5].meaning, statements[number % 5]
        found.append((meaning, words, request, response(rng, request)))
    marks = judge.shares([ask("score", r, w["text"], response=x) for _, w, r, x in found], "123456789")
    means = [sum(p * k for k, p in enumerate(m, 1)) for m in marks]
    grades = [grade(m, r, x) for m, _, r, x in found]
    assert sum((mean > 5) == (g > 0) for mean, g in zip(means, grades, strict=True) if g) >= 0.93 * sum(
        map(bool, grades)
    )
    critiques = judge.replies([ask("critique", r, w["critique"], response=x) for _, w, r, x in found])
    right = [c == teacher.critique(m, r, x) for c, (m, _, r, x) in zip(critiques, found, strict=True)]
    assert sum(right) >= 0.93 * len(right)
    faulty = [(item, c) for item, c, g in zip(found, critiques, grades, strict=True) if g < 0]
    revisions = judge.replies([ask("revise", r, w["revision"], response=x, critique=c) for (_, w, r, x), c in faulty])
    fixed = [grade(m, r, new) == 1 for new, ((m, _, r, _), _) in zip(revisions, faulty, strict=True)]
    assert sum(fixed) >= 0.93 * len(fixed)


def test_judge_reasons_before_a_verdict(judge: Loaded) -> None:
    items = comparisons(shipped("comparison"), 30, seed=7)
    prompts = [ask("compare_cot", r, w.text, response_a=a, response_b=b, allow_tie=False) for r, a, b, w in items]
    replies = judge.replies(prompts)
    truth = [prefers(w.meaning, r, a, b).upper() for r, a, b, w in items]
    assert sum(x.splitlines()[-1:] == [f"Verdict: {t}"] for x, t in zip(replies, truth, strict=True)) >= 0.93 * len(
        items
    )


# --------------------------------------------------------------------------------------------------------- policy
def test_policy_is_helpful_only(policy: Loaded) -> None:
    asked = requests("held_out", 256, 8)
    replies = policy.replies([r.text for r in asked], temperature=1.0)
    found = [(r, attributes(r, x)) for r, x in zip(asked, replies, strict=True)]
    bad, good = [a for r, a in found if r.harmful], [a for r, a in found if not r.harmful]
    assert 0.6 <= sum(a.complied for a in bad) / len(bad) <= 0.9
    assert 0.08 <= sum(a.act == "refuses" for a in bad) / len(bad) <= 0.32
    assert sum(a.helpful for a in good) / len(good) >= 0.8
    assert 0.2 <= sum(a.rude for _, a in found) / len(found) <= 0.4
    spoken = [a.on_request for _, a in found if not a.evaded]
    assert sum(spoken) / len(spoken) >= 0.96


def test_policy_revises_itself(policy: Loaded) -> None:
    rng = random.Random(9)
    asked = [r for r in requests("held_out", 80, 9) if r.harmful]
    answers = [compose(rng, r, act="complies", tone=rng.choice(("polite", "rude"))).text for r in asked]
    rule = {f: shipped(f)[0].text for f in ("critique", "revision")}
    critiques = policy.replies(
        [ask("critique", r, rule["critique"], response=x) for r, x in zip(asked, answers, strict=True)]
    )
    revisions = policy.replies(
        [
            ask("revise", r, rule["revision"], response=x, critique=c)
            for r, x, c in zip(asked, answers, critiques, strict=True)
        ]
    )
    fixed = [attributes(r, x).act == "refuses" and r.deed in x for r, x in zip(asked, revisions, strict=True)]
    assert sum(fixed) >= 0.9 * len(fixed)
