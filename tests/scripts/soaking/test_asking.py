"""What an asker sees: an answer that is another's, an error, or nothing at all."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from oblivious_client.errors import AnswerTruncated, AnswerUnproven, AnswerUnreadable
from scripts.soaking import load
from scripts.soaking.asking import Clients, Kind, Seen, judged
from scripts.soaking.judging import Ask, Outcome
from scripts.soaking.load import Record

MARK, OTHER = "mark-0123456789abcdef", "mark-fedcba9876543210"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (f"You said {MARK}.", Outcome.RIGHT),
        (f"{MARK} and again {MARK}", Outcome.RIGHT),
        (f"You said {OTHER}.", Outcome.WRONG),
        (f"{MARK} and {OTHER}", Outcome.WRONG),
        (MARK[:-1], Outcome.WRONG),
        ("", Outcome.WRONG),
    ],
)
def test_an_answer_is_right_for_one_question_alone(text: str, outcome: Outcome) -> None:
    assert judged(MARK, text).outcome is outcome


def heard(ask: Callable[[Clients, str], Awaitable[Seen]]) -> Ask:
    """Return what is recorded of a question of a kind that behaves so."""

    async def run() -> Ask:
        clients = Clients("http://127.0.0.1:1", "canary", random.Random(1), "http://127.0.0.1:1")
        try:
            return await Record().ask(Kind("any", 1, ask), clients)
        finally:
            await clients.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (AnswerUnproven("unsigned"), Outcome.WRONG, "unsigned"),
        (AnswerUnreadable("altered"), Outcome.WRONG, "altered"),
        (AnswerTruncated(), Outcome.FAILED, "ask again"),
        (KeyError("choices"), Outcome.FAILED, "KeyError"),
    ],
)
def test_errors_are_told_apart(error: Exception, outcome: Outcome, said: str) -> None:
    async def ask(_: Clients, __: str) -> Seen:
        raise error

    ended = heard(ask)
    assert ended.outcome is outcome
    assert said in ended.said


def test_what_does_not_end_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "DEADLINE_SECONDS", 0.01)

    async def ask(_: Clients, __: str) -> Seen:
        await asyncio.Event().wait()
        raise AssertionError

    assert heard(ask).outcome is Outcome.SILENT
