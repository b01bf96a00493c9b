#!/usr/bin/env python3
"""Score comparisons in two orders under K principles: raif beside what others do, on one random Llama.

    python scripts/bench/score.py [--principles 4 16] [--comparisons 6] [--rounds 3] [--device cuda] [--quick]

Every way answers the same prompts with the same model: raif's `hf:` (one tree-masked pass for a comparison), `generate`
for one prompt after the other, a batched `pipeline`, sorted batches of which the last logits are read, and 64 generated
tokens searched with a regular expression. Ways take turns, round by round, and each is given by the median of its
seconds; on a shared machine the processor's seconds are the steadier. Tokens are counted where they enter the model;
the fewest are those of the prefix tree of each comparison.
What it simplifies: the model is random, so only the cost of an answer is measured, and that all ways agree on it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from bench.table import installed, machine, table  # noqa: E402

CHOICES = ("A", "B")
BATCH = 16
THOUGHT = 64
"""Tokens that a judge who answers in prose is given."""
SIZES: dict[str, dict[str, Any]] = {
    "full": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8},
    "quick": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2},
}
VOCABULARY = 16_000
WORDS = (
    "the water flour bread salt oven careful window garden slowly because never always people answer question better "
    "honest harm kind letter paint small large first second morning evening walk read write explain simple reason"
)
QUALITIES = "kind honest short clear careful friendly modest exact calm useful lively patient fair plain thorough warm"

Answers = list[float | None]
"""For each prompt, the first choice's share of the choices' probability; None where a way gives none."""


@dataclass
class Way:
    name: str
    run: Callable[[Sequence[str]], Answers]


def build(folder: Path, size: str) -> None:
    """A random Llama with the demo judge's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "raif/demo/models/judge")
    torch.manual_seed(0)
    config = LlamaConfig(
        **SIZES[size],
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def comparisons(count: int, principles: int, words: int) -> list[list[str]]:
    """The questions about each comparison, as raif asks them: two orders, and the principles last."""
    from raif.constitution import Principle
    from raif.prompts import PromptLibrary
    from raif.records import conversation

    draw = random.Random(0)
    library = PromptLibrary()

    def text(length: int) -> str:
        return " ".join(draw.choices(WORDS.split(), k=length))

    asked = []
    for _ in range(count):
        talk, first, second = conversation(text(words // 2)), text(words), text(words + words // 4)
        asked.append(
            [
                library.render(
                    "compare",
                    conversation=talk,
                    response_a=one,
                    response_b=other,
                    principle=Principle(id=quality, comparison=f"Choose the response that is more {quality}."),
                    allow_tie=False,
                )
                for one, other in ((first, second), (second, first))
                for quality in QUALITIES.split()[:principles]
            ]
        )
    return asked


def ways(model: Any, batch: int) -> list[Way]:
    """All ways, over one opened model; each takes the texts of the questions."""
    import torch
    from transformers import pipeline

    from raif.models.base import ScoreRequest, Scores
    from raif.models.batching import batches
    from raif.models.scoring import Scorer
    from raif.records import conversation

    loaded = model._loaded
    network, tokenizer, chat = loaded.model, loaded.chat.tokenizer, loaded.chat
    tokenizer.padding_side = "left"
    scorer = Scorer(loaded, batch)
    pipe = pipeline("text-generation", model=network, tokenizer=tokenizer, device=loaded.device)
    answers = model._answers(CHOICES)

    def share(first: float, second: float) -> float:
        return first / (first + second)

    def read(probabilities: Any) -> float:
        return share(*(float(probabilities[list(ids)].sum()) for ids in answers))

    def raif(texts: Sequence[str]) -> Answers:
        scores = asyncio.run(model.score([ScoreRequest(conversation(text), CHOICES) for text in texts]))
        return [share(*score.probabilities) if isinstance(score, Scores) else None for score in scores]

    def prompts(texts: Sequence[str]) -> list[str]:
        return [chat.render(conversation(text)) for text in texts]

    def naive(texts: Sequence[str]) -> Answers:
        found: Answers = []
        for prompt in prompts(texts):
            inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(loaded.device)
            made = network.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=loaded.pad_id,
                output_logits=True,
                return_dict_in_generate=True,
            )
            found.append(read(made.logits[0][0].float().softmax(dim=-1).cpu()))
        return found

    def piped(texts: Sequence[str], tokens: int) -> list[str]:
        made = pipe(
            prompts(texts),
            batch_size=batch,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            return_full_text=False,
            add_special_tokens=False,
        )
        return [one[0]["generated_text"] for one in made]

    def pipelined(texts: Sequence[str]) -> Answers:
        return [None for _ in piped(texts, 1)]

    def in_batches(texts: Sequence[str]) -> Answers:
        ids = {i: chat.encode(conversation(text)) for i, text in enumerate(texts)}
        found: dict[int, float] = {}
        with torch.inference_mode():
            for keys in batches(ids, batch):
                found |= dict(zip(keys, map(read, scorer.plain([ids[key] for key in keys])), strict=True))
        return [found[i] for i in range(len(texts))]

    def in_prose(texts: Sequence[str]) -> Answers:
        verdicts = [re.findall(r"\b(A|B)\b", text) for text in piped(texts, THOUGHT)]
        return [None] * len(verdicts)  # a random model says nothing

    return [
        Way("generate, one at a time", naive),
        Way(f"pipeline, batches of {batch}", pipelined),
        Way(f"sorted batches of {batch}, last logits", in_batches),
        Way(f"{THOUGHT} tokens and a regular expression", in_prose),
        Way(f"raif ({model.info.details['prefixes']})", raif),
    ]


def measure(model: Any, asked: list[list[str]], rounds: int) -> str:
    """The table for these comparisons."""
    from raif.models.tree import fewest_tokens
    from raif.records import conversation

    chat = model._loaded.chat
    texts = [text for questions in asked for text in questions]
    ids = [[chat.encode(conversation(text)) for text in questions] for questions in asked]
    fewest = sum(map(fewest_tokens, ids))
    seen = [0]
    hook = model._loaded.model.register_forward_pre_hook(
        lambda _, __, arguments: seen.__setitem__(0, seen[0] + arguments["input_ids"].numel()), with_kwargs=True
    )
    entrants = ways(model, BATCH)
    seconds: dict[str, list[float]] = {way.name: [] for way in entrants}
    processor: dict[str, list[float]] = {way.name: [] for way in entrants}
    tokens: dict[str, int] = {}
    answers: list[Answers] = []
    for way in entrants:
        way.run(texts[:2])  # what is done once is done now
    for _ in range(rounds):
        for way in entrants:
            seen[0] = 0
            begun, begun_on_cpu = time.perf_counter(), time.process_time()
            found = way.run(texts)
            seconds[way.name].append(time.perf_counter() - begun)
            processor[way.name].append(time.process_time() - begun_on_cpu)
            tokens[way.name] = seen[0]
            if None not in found:
                answers.append(found)
    hook.remove()
    apart = max(abs((p or 0) - (q or 0)) for found in answers for p, q in zip(found, answers[0], strict=True))
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    on_cpu = {name: statistics.median(times) for name, times in processor.items()}

    def saved(times: dict[str, float]) -> str:
        naive, prose, ours = (times[entrants[i].name] for i in (0, 3, 4))
        return f"{naive / ours:.2f} times as fast as generate, {prose / ours:.2f} times as fast as {THOUGHT} tokens"

    rows = [
        [
            way.name,
            f"{middle[way.name]:.2f}",
            f"{min(seconds[way.name]):.2f}–{max(seconds[way.name]):.2f}",
            f"{on_cpu[way.name]:.2f}",
            f"{middle[entrants[0].name] / middle[way.name]:.2f}",
            f"{tokens[way.name]:,}",
            f"{tokens[way.name] / fewest:.3f}",
        ]
        for way in entrants
    ]
    lengths = [len(prompt) for prompts in ids for prompt in prompts]
    text = [
        f"{len(asked)} comparisons × 2 orders × {len(texts) // len(asked) // 2} principles = {len(texts)} prompts of "
        f"{min(lengths)} to {max(lengths)} tokens; fewest tokens {fewest:,} "
        f"({fewest_tokens(prompt for prompts in ids for prompt in prompts):,} were all comparisons one tree)",
        "",
        table(["way", "seconds", "range", "CPU seconds", "speed-up", "tokens", "of the fewest"], rows),
        "",
        f"raif is {saved(middle)}; by the processor's seconds, {saved(on_cpu)}. P(A) agrees within {apart:.1e}.",
    ]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--principles", type=int, nargs="+", default=[4, 16], metavar="K", help="up to 16")
    parser.add_argument("--comparisons", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", type=int, default=60, help="of the shorter response")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--quick", action="store_true", help="a tiny model and little text: does it run?")
    options = parser.parse_args()
    if any(not 1 <= count <= len(QUALITIES.split()) for count in options.principles):
        parser.error(f"--principles: from 1 to {len(QUALITIES.split())}")
    import transformers

    from raif.models.huggingface import HuggingFaceModel

    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if options.quick:
        options.comparisons, options.rounds, options.words = 2, 1, 8
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), "quick" if options.quick else "full")
        model = HuggingFaceModel.open(folder, device=options.device, dtype=options.dtype)
        details = model.info.details
        print(installed("raif", "torch", "transformers"))
        print(machine())
        size, threads = int(details["parameters"]) / 1e6, details.get("threads")
        print(
            f"random Llama, {size:.1f} M parameters, {details['dtype']}, {details['device']}"
            + (f", {threads} thread(s)" if threads else "")
            + f"; medians of {options.rounds} interleaved rounds"
        )
        for count in options.principles:
            print(f"\n{measure(model, comparisons(options.comparisons, count, options.words), options.rounds)}")
        asyncio.run(model.close())


if __name__ == "__main__":
    main()
