"""What words alone tell: quiet on principles as people write them, and not fooled by the usual slips."""

from __future__ import annotations

import pytest

from raif.constitution import STATEMENTS, load_constitution
from raif.constitution.wording import alike, compound, is_empty, length, meaning, opposed
from raif.resources import folder

SINGLE = [
    "The response gives no help with a harmful deed.",
    "Choose the response that is more courteous and less rude.",
    "Choose the response that dodges less; an open refusal with a reason is better than a vague reply.",
    "The response should do what was asked, fully and to the point, whenever that is safe.",
    "The response must not help anyone to hurt people, break the law, or damage what belongs to others.",
    "Choose the response that a wise, ethical, polite and friendly person would more likely give.",
    "Choose the response that gives less help with violence, fraud, and theft.",
    "The response is short. A reader in a hurry finds the answer in the first line.",
    "The response says what it does not know, as well as how sure it is of the rest.",
    "Choose the response that treats men and women alike.",
    "The response keeps to the language of the question, e.g. French. Code is exempt.",
    "Prefer the response that cites its sources and that a reader can check.",
    "Choose the response that is more honest about what it is.",
    "The response should say where a step is dangerous, and how to go about it safely.",
    "Is the response free of flattery? Flattery is praise that nobody asked for.",
]

SEVERAL = [
    ("The response should be kind and also brief.", "and also"),
    ("The response should be kind. Additionally, it cites sources.", "Additionally"),
    ("The response is in English; in addition, it is polite.", "in addition"),
    ("The response should be helpful but also harmless.", "but also"),
    ("The response should be honest and must not exceed a page.", "should be honest and must"),
    ("Choose the response that is more honest and more concise.", "more honest and more concise"),
    ("Choose the response that is more helpful, honest, and harmless.", "more helpful, honest, and harmless"),
    ("The response should be wise, peaceful and ethical.", "be wise, peaceful and ethical"),
    (
        "Choose the kinder response. Choose the shorter one if both are kind.",
        "Choose the shorter one if both are kind.",
    ),
    ("Prefer the kinder response; prefer the shorter one.", "prefer the shorter one."),
    ("The response should be kind. It should be short.", "It should be short."),
    ("The response must be true. Never mention rivals.", "Never mention rivals."),
]


@pytest.mark.parametrize("statement", SINGLE)
def test_a_statement_of_one_demand_passes(statement: str) -> None:
    assert compound(statement) is None


@pytest.mark.parametrize(("statement", "evidence"), SEVERAL)
def test_several_demands_are_seen_and_quoted(statement: str, evidence: str) -> None:
    assert compound(statement) == evidence


@pytest.mark.parametrize("statement", ["TODO", "todo: ", "...", "tbd.", "N/A", "—", "xxx", "None", "Kindness", "?!"])
def test_an_empty_statement(statement: str) -> None:
    assert is_empty(statement)


@pytest.mark.parametrize("statement", ["Be kind.", "No flattery.", "不要 奉承", "The todo list of the user is kept."])
def test_a_short_statement_is_not_empty(statement: str) -> None:
    assert not is_empty(statement)


OPPOSED = [
    ("Choose the kinder response.", "Choose the ruder response."),
    ("Choose the response that is more polite.", "Choose the response that is less polite."),
    ("Choose the response that is more polite.", "Choose the response that is more rude."),
    ("The response flatters the user.", "The response does not flatter the user."),
    ("The response should flatter.", "The response shouldn't flatter."),
    ("Choose the longer response.", "Prefer the more concise response."),
    ("The response mentions rivals.", "The response avoids mentioning rivals."),
    ("Choose the response that gives more help with harm.", "Choose the response that gives less help with harm."),
    ("The response is honest.", "The response is dishonest."),
    ("The response never swears.", "The response swears."),
]

SAME = [
    ("Choose the kinder response.", "Choose the response that is more kind."),
    ("Choose the response that is less rude.", "Choose the politer response."),
    ("The response does not lie about its sources.", "The response doesn't lie about its sources!"),
    ("The response is not unhelpful.", "The response is helpful."),
    # cite source claim that reader might doubt / … surely doubt: six of seven concepts in common, 0.857
    (
        "The response cites sources for claims that readers might doubt.",
        "The response cites good sources for claims that readers might doubt.",
    ),
]

UNRELATED = [
    ("Choose the kinder response.", "Choose the longer response."),
    ("Choose the response.", "Prefer the answer."),
    ("The response is polite to children.", "The response is rude to spammers."),
    ("The response gives reasons.", "The response gives no reasons for what nobody doubts."),
    ("Choose the response that is more helpful.", "Choose the response that is less harmful."),
]


@pytest.mark.parametrize(("first", "second"), OPPOSED)
def test_a_statement_turned_round_is_seen_both_ways(first: str, second: str) -> None:
    assert alike(first, second) == alike(second, first) == -1
    assert opposed(first, second)


@pytest.mark.parametrize(("first", "second"), SAME)
def test_a_statement_said_again_is_seen_both_ways(first: str, second: str) -> None:
    assert alike(first, second) == alike(second, first) == 1
    assert not opposed(first, second)


@pytest.mark.parametrize(("first", "second"), UNRELATED)
def test_different_statements_are_not_alike(first: str, second: str) -> None:
    assert alike(first, second) == alike(second, first) == 0


def test_directions_multiply() -> None:
    # "less" turns round once, "rude" (the opposite of polite) once more, "not" a third time.
    assert [meaning(s).sign for s in ("polite", "rude", "less rude", "not less rude")] == [1, -1, 1, -1]
    assert meaning("not less rude").concepts == {"polite"}


def test_length_is_in_words() -> None:
    assert length("The user's e-mail isn't quoted – ever.") == 7  # The, user's, e, mail, isn't, quoted, ever


@pytest.mark.parametrize("name", ["default.yaml", "demo.yaml"])
def test_shipped_statements_pass(name: str) -> None:
    for principle in load_constitution(folder("constitution") / name).principles:
        for field in STATEMENTS:
            assert not is_empty(getattr(principle, field))
            assert compound(getattr(principle, field)) is None
