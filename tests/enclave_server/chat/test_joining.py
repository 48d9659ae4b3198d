"""A stream joined: what its events say together is what a whole answer says."""

import msgspec
import pytest
from msgspec import UNSET

from enclave_server.chat.conversation import (
    END,
    Call,
    CallDelta,
    Choice,
    ChoiceDelta,
    Delta,
    Event,
    Function,
    FunctionDelta,
    Logprobs,
    PartState,
    Reply,
    State,
    TokenLogprob,
    Usage,
)
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.joining import LIKELY_OCTETS, Joiner
from enclave_server.chat.transcript import STEP_OCTETS
from enclave_server.memory import Holding, Memory


def joined(*events: Event, choices: int = 1) -> Joiner:
    joiner = Joiner(choices, Holding(Memory()))
    for event in events:
        joiner.add(event)
    return joiner


def said(delta: Delta, index: int = 0, finish: str | None = None) -> Event:
    return Event([ChoiceDelta(index, delta, finish_reason=finish)])


def fragment(index: int, arguments: str, identifier: str | None = None) -> Delta:
    function = FunctionDelta("f" if identifier else None, arguments)
    return Delta(tool_calls=[CallDelta(index, identifier, None, function)])


def test_texts_thoughts_and_calls_are_joined() -> None:
    answer = joined(
        said(Delta(role="assistant", content="")),
        said(Delta(reasoning_content="H")),
        said(Delta(reasoning_content="m")),
        said(Delta(content="Par")),
        said(Delta(content="is.")),
        said(fragment(0, '{"a"', "c1")),
        said(fragment(1, "{}", "c2")),
        said(fragment(0, ":1}"), finish="tool_calls"),
        Event(usage=Usage(1, 2, 3)),
        Event(states=(PartState(0, State("d", b"s")),), ends=True),
    ).answer()
    calls = [Call("c1", Function("f", '{"a":1}')), Call("c2", Function("f", "{}"))]
    reply = Reply(content="Paris.", tool_calls=calls, reasoning_content="Hm")
    assert answer.choices == [Choice(0, reply, finish_reason="tool_calls")]
    assert answer.usage == Usage(1, 2, 3)
    assert answer.states == (PartState(0, State("d", b"s")),)


def test_what_was_not_said_is_absent() -> None:
    (choice,) = joined(said(Delta(), finish="length")).answer().choices
    assert choice.message == Reply(content="")
    assert (choice.message.tool_calls, choice.message.reasoning_content) == (UNSET, UNSET)
    (choice,) = joined(said(fragment(0, "{}", "c"), finish="tool_calls")).answer().choices
    assert choice.message.content is None
    (choice,) = joined(said(Delta(refusal="No."), finish="stop")).answer().choices
    assert choice.message.refusal == "No."


def test_choices_come_in_order() -> None:
    answer = joined(said(Delta(content="b"), 1), said(Delta(content="a")), END, choices=2).answer()
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [
        (0, "a"),
        (1, "b"),
    ]
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}


def test_likelihoods_are_strung_together() -> None:
    def token(text: str) -> Event:
        likely = Logprobs(content=[TokenLogprob(text, -1.0)])
        return Event([ChoiceDelta(0, Delta(content=text), likely)])

    (choice,) = joined(token("a"), token("b"), said(Delta(), finish="stop")).answer().choices
    assert choice.logprobs == Logprobs(content=[TokenLogprob("a", -1.0), TokenLogprob("b", -1.0)])


def test_an_answer_without_its_end_is_none() -> None:
    with pytest.raises(UpstreamError) as caught:
        joined(said(Delta(content="a"))).answer()
    assert caught.value.failure is Failure.BROKEN


def test_what_is_kept_is_counted() -> None:
    memory = Memory()
    holding = Holding(memory)
    joiner = Joiner(1, holding)
    ahead = 4 * (STEP_OCTETS + 1)
    joiner.add(said(Delta(content="a")))
    assert memory.held == ahead
    likely = Logprobs(tokens=["a" * 100] * 2000)
    octets = LIKELY_OCTETS + len(msgspec.msgpack.encode(likely))
    joiner.add(Event([ChoiceDelta(0, Delta(), likely)]))
    told = ahead + octets // 4 * 4
    assert memory.held == told
    # Before it is said, a state is what its reader keeps; from then on it is kept here.
    joiner.count(100_000)
    assert memory.held == told + 100_000
    joiner.add(Event(states=(PartState(0, State("d", bytes(150_000 - 256))),)))
    joiner.count(50_000)
    assert memory.held == told + 200_000
    holding.give_back()
    assert memory.held == 0


def test_likelihoods_take_of_the_memory() -> None:
    memory = Memory(100_000, 4)
    assert Holding(memory).takes(1)
    joiner = Joiner(1, Holding(memory))
    likely = Logprobs(tokens=["a"] * 100_000)
    with pytest.raises(UpstreamError) as caught:
        joiner.add(Event([ChoiceDelta(0, Delta(content="a"), likely)]))
    assert caught.value.failure is Failure.BUSY
