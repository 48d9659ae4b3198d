"""What counts of an answer against the tokens that were paid for."""

import pytest

from enclave_server.chat.conversation import (
    CallDelta,
    ChoiceDelta,
    Delta,
    Event,
    FunctionDelta,
)
from enclave_server.chat.overrun import CHARACTERS_PER_TOKEN, Overrun


def saying(*deltas: Delta) -> Event:
    return Event([ChoiceDelta(index, delta) for index, delta in enumerate(deltas)])


TEXT = "1234567890123456"
CALL = Delta(tool_calls=[CallDelta(0, function=FunctionDelta(name="f", arguments=TEXT))])


@pytest.mark.parametrize(
    "said",
    [
        [Delta(content=TEXT)],
        [Delta(reasoning_content=TEXT)],
        [Delta(refusal=TEXT)],
        [CALL],
        [Delta(content="12345678"), Delta(content="90123456")],
        [Delta(content="नमस्ते1234567890")],  # characters, of whatever size
    ],
    ids=["text", "thought", "refusal", "call", "two choices", "other letters"],
)
def test_all_that_is_said_counts_in_characters(said: list[Delta]) -> None:
    overrun = Overrun(3)
    for _ in range(3):
        assert not overrun.is_reached(saying(*said))
    assert overrun.is_reached(saying(Delta(content="1")))


def test_what_says_nothing_counts_nothing() -> None:
    overrun = Overrun(1)
    call = CallDelta(0, id="c" * 100, function=FunctionDelta(name="f" * 100))
    for delta in (Delta(), Delta(role="assistant"), Delta(content=""), Delta(tool_calls=[call])):
        assert not overrun.is_reached(saying(delta))
    assert not overrun.is_reached(Event([]))
    assert not overrun.is_reached(saying(Delta(content="x" * CHARACTERS_PER_TOKEN)))


def test_what_is_free_has_no_end() -> None:
    assert not Overrun(None).is_reached(saying(Delta(content="x" * 10_000_000)))
