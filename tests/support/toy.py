"""A toy world for checks: a response is good or bad by its first word, and a scripted judge sees what it is made to.

Forty decided pairs under two principles, five pairs of equals under each. Every prompt has a number; merit, sides and
lengths do not depend on one another: who is better is drawn by hash, and the better response is the longer one in
every second ten.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from raif.config import JudgeCheckConfig, LabelConfig
from raif.constitution import Constitution, Principle
from raif.models.base import Failure
from raif.models.scripted import ScriptedModel
from raif.prompts import PromptLibrary
from raif.qualify.asking import Inquiry
from raif.qualify.certificate import Certificate, Key
from raif.qualify.check import Checked, check
from raif.qualify.gold import Gold
from raif.records import Comparison, conversation
from raif.reporting import SilentReporter

KIND = Principle(id="kind", text="The response is kind.")
CALM = Principle(id="calm", text="The response is calm.")
CONSTITUTION = Constitution(name="toy", version="1", principles=(KIND, CALM))
CONFIG = JudgeCheckConfig(padded=20, repeats=10)
LIBRARY = PromptLibrary()


def decided(number: int, principle: str | None) -> Gold:
    longer = " and it goes on for a while" if number // 10 % 2 else ""
    shorter = "" if longer else " and it goes on for a while"
    good, bad = f"good words{longer}.", f"bad words{shorter}."
    a_better = number % 2 == 0
    comparison = Comparison(
        prompt=conversation(f"Question {number}?"),
        response_a=good if a_better else bad,
        response_b=bad if a_better else good,
        source="test",
        human_p_a=1.0 if a_better else 0.0,
    )
    return Gold(comparison=comparison, principle=principle)


def tied(number: int, principle: str | None) -> Gold:
    comparison = Comparison(
        prompt=conversation(f"Question {number}?"),
        response_a="good words and some more of them.",
        response_b="good words.",
        source="test",
        human_p_a=0.5,
    )
    return Gold(comparison=comparison, principle=principle)


def toy_gold(*principles: str | None) -> list[Gold]:
    """20 decided pairs and 5 tied ones for each of the names."""
    return [
        gold
        for place, name in enumerate(principles)
        for gold in (
            *(decided(20 * place + i, name) for i in range(20)),
            *(tied(100 + 5 * place + i, name) for i in range(5)),
        )
    ]


@dataclass(frozen=True)
class Shown:
    """What a judge is shown: the number of the prompt, and the two responses as far as their own first tags go."""

    number: int
    first: str
    second: str

    @classmethod
    def of(cls, request) -> Shown:
        text = request.messages[-1].content
        number = re.search(r"Question (\d+)\?", text)
        assert number
        first = text.split("<response_a>\n")[1].split("\n</response_a>")[0]
        second = text.split("<response_b>\n")[-1].split("\n</response_b>")[0]
        return cls(int(number[1]), first, second)

    @property
    def merit(self) -> float:
        """1 where the first is better, 0 where the second is, ½ where they are equal."""
        return (1 + self.first.startswith("good") - self.second.startswith("good")) / 2


Says = Callable[[Shown], float | Failure]


def answers(says: Says, mass: float = 1.0):
    """A scripted judge from a function that gives P(first is better)."""

    def reply(request):
        said = says(Shown.of(request))
        return said if isinstance(said, Failure) else {"A": mass * said, "B": mass * (1 - said)}

    return reply


def oracle(shown: Shown) -> float:
    return 0.03 + 0.94 * shown.merit


def examine(
    judge,
    gold: list[Gold] | None = None,
    *,
    config: JudgeCheckConfig = CONFIG,
    label: LabelConfig | None = None,
    constitution: Constitution = CONSTITUTION,
    certificate: Certificate | None = None,
    **more,
) -> Checked:
    """Check a judge (a model, or a function of a request) against the toy world's gold."""
    model = judge if hasattr(judge, "info") else ScriptedModel(judge)
    label = label or LabelConfig()
    known = certificate or Certificate(key=Key.of(model.info, LIBRARY, label))
    inquiry = Inquiry(model, LIBRARY, label, 0, SilentReporter())
    pairs = toy_gold("kind", "calm") if gold is None else gold
    return asyncio.run(check(inquiry, constitution, pairs, config, known, **more))
