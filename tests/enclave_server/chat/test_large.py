"""What is too large for one turn: in slices it says the same, and each slice is small."""

from typing import Any

import msgspec
import pytest

from enclave_server.chat.conversation import (
    CallDelta,
    ChoiceDelta,
    Delta,
    Event,
    FunctionDelta,
    Logprobs,
    PartState,
    State,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.large import (
    LARGE_BYTES,
    SLICE,
    SLICE_PARTS,
    decode_slice,
    encode_slices,
    slices,
)
from enclave_server.chat.transcript import Transcript
from enclave_server.memory import Holding, Memory

TOP = [TopLogprob(f"t{number}", -1.0, [1, 2]) for number in range(20)]
TOKENS = [TokenLogprob("word ", -0.5, [1], TOP) for _ in range(500)]


def part(index: int = 0, end: str | None = None, **delta: Any) -> ChoiceDelta:
    return ChoiceDelta(index, Delta(**delta), finish_reason=end)


def call(arguments: str | None, number: int = 0) -> ChoiceDelta:
    return part(tool_calls=[CallDelta(number, "c", "function", FunctionDelta("f", arguments))])


EVENTS: dict[str, Event] = {
    "nothing": Event(),
    "a word": Event([part(content="a")]),
    "a text": Event([part(content="ab\N{GRINNING FACE}" * SLICE, role="assistant", end="stop")]),
    "all sorts": Event(
        [part(reasoning_content="h" * 70_000, content="c" * 40_000, refusal="r" * 90_000)],
        Usage(1, 2, 3),
        ends=True,
    ),
    "a call": Event([call("[" + "1," * SLICE + "1]")]),
    "a call without arguments": Event([call(None)]),
    "calls": Event([part(tool_calls=[CallDelta(i, f"c{i}", "function") for i in range(1000)])]),
    "parts": Event([part(number % 3, content="x") for number in range(3000)]),
    "states": Event(
        [part(content="x")],
        states=tuple(PartState(0, State("d", b"%d" % i)) for i in range(300)),
        thought=State("d", b"t"),
    ),
    "likelihoods": Event([ChoiceDelta(0, Delta(content="word " * 500), Logprobs(content=TOKENS))]),
    "likelihoods alone": Event([ChoiceDelta(0, Delta(), Logprobs(content=TOKENS))]),
    "likelihoods of a refusal": Event(
        [ChoiceDelta(0, Delta(refusal="no"), Logprobs(refusal=TOKENS, content=[]))]
    ),
    "old likelihoods": Event(
        [
            ChoiceDelta(
                0,
                Delta(content="a" * 9000),
                Logprobs(
                    tokens=["a"] * 9000,
                    token_logprobs=[-1.0] * 9000,
                    top_logprobs=[{"a": -1.0}] * 9000,
                    text_offset=[*range(9000)],
                ),
            )
        ]
    ),
}


def strung(events: list[Event]) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {}
    for each in (part for event in events for part in event.choices if part.logprobs):
        for name in Logprobs.__struct_fields__:
            lists.setdefault(name, []).extend(getattr(each.logprobs, name) or [])
    return {name: tokens for name, tokens in lists.items() if tokens}


def said(events: list[Event]) -> Any:
    transcript = Transcript(3, Holding(Memory()))
    for event in events:
        assert not transcript.ended
        # What is taken is changed.
        transcript.take(msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event))
    return transcript.outputs(), transcript.usage, transcript.ended


@pytest.mark.parametrize("case", EVENTS)
def test_slices_say_what_the_whole_says(case: str) -> None:
    event = EVENTS[case]
    cut = [decode_slice(octets) for octets in encode_slices(event)]
    assert said(cut) == said([event])
    assert strung(cut) == strung([event])
    assert tuple(state for each in cut for state in each.states) == event.states
    assert [each.thought for each in cut if each.thought] == [event.thought] * bool(event.thought)


@pytest.mark.parametrize("case", EVENTS)
def test_slices_are_small(case: str) -> None:
    for octets in encode_slices(EVENTS[case]):
        assert len(octets) <= 2 * LARGE_BYTES
        event = decode_slice(octets)
        assert len(event.choices) <= SLICE_PARTS
        assert len(event.states) <= SLICE_PARTS
        assert all(len(each.delta.tool_calls or ()) <= SLICE_PARTS for each in event.choices)


def test_a_likelihood_stands_beside_its_text() -> None:
    """Some surfaces tell none that stands alone."""
    for each in slices(EVENTS["likelihoods"]):
        assert all(piece.delta.content and piece.logprobs for piece in each.choices)


def test_a_token_of_megabytes_is_none() -> None:
    many = [TopLogprob("t", -1.0)] * 10_000
    event = Event(
        [
            ChoiceDelta(
                0, Delta(content="a"), Logprobs(content=[TokenLogprob("a", -1.0, None, many)])
            )
        ]
    )
    with pytest.raises(UpstreamError):
        list(slices(event))


@pytest.mark.parametrize(
    ("whole", "pieces"),
    [
        (part(content="x" * SLICE), 1),
        (part(content="x" * (SLICE + 1)), 2),
        (part(role="assistant", content="x" * SLICE, end="stop"), 1),
        (part(reasoning_content="x" * SLICE), 1),
        (part(refusal="x" * (SLICE + 1)), 2),
        (part(tool_calls=[CallDelta(i, f"c{i}", "function") for i in range(SLICE_PARTS)]), 1),
        (call("x" * SLICE), 1),
        (call("x" * (SLICE + 1)), 2),
    ],
)
def test_what_fits_a_slice_is_passed_on_as_it_is(whole: ChoiceDelta, pieces: int) -> None:
    cut = [piece for each in slices(Event([whole])) for piece in each.choices]
    assert len(cut) == pieces
    assert (cut == [whole]) == (pieces == 1)


def test_slices_are_as_full_as_they_may_be() -> None:
    half = part(content="x" * (SLICE // 2))
    sizes = [len(each.choices) for each in slices(Event([half] * 5))]
    assert sizes == [2, 2, 1]
    sizes = [len(each.choices) for each in slices(Event([part(content="")] * (SLICE_PARTS + 1)))]
    assert sizes == [SLICE_PARTS, 1]
    states = tuple(PartState(0, State("d", b"%d" % i)) for i in range(SLICE_PARTS + 1))
    assert [len(each.states) for each in slices(Event(states=states))] == [SLICE_PARTS, 1]


def test_of_a_part_in_pieces_the_short_members_are_whole() -> None:
    """A short text beside a long one, and the arguments of a short call among many."""
    both = part(role="assistant", content="y" * 10, refusal="x" * (2 * SLICE), end="stop")
    cut = [piece for each in slices(Event([both])) for piece in each.choices]
    assert cut[0] == part(role="assistant")
    assert "".join(piece.delta.content or "" for piece in cut) == "y" * 10
    assert cut[-1].finish_reason == "stop"
    calls = [CallDelta(i, "c", "function", FunctionDelta("f", "{}")) for i in range(200)]
    cut = [piece for each in slices(Event([part(tool_calls=calls)])) for piece in each.choices]
    assert [call for piece in cut for call in piece.delta.tool_calls or ()] == calls
