"""Answers of blocks: what is passed on, what waits until it is whole, and what is kept of it."""

import json
from collections.abc import Callable, Iterator

import msgspec
import pytest

from enclave_server.chat.conversation import Event, State, Usage, UsageDetails
from enclave_server.chat.dialects.blocks import (
    MAX_KEPT_CHARACTERS,
    PIECE_CHARACTERS,
    Blocks,
    gather,
    one_form,
)
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.thoughts import CALL, Hidden, Thought, decode_pieces

Step = Callable[[Blocks], Iterator[Event] | None]


def played(*steps: Step) -> list[Event]:
    blocks = Blocks("ours")
    events: list[Event] = []
    for step in steps:
        events += step(blocks) or ()
    return events


def say(text: str) -> Step:
    return lambda blocks: blocks.say(text)


def think(text: str) -> Step:
    return lambda blocks: blocks.think(text)


def sign(text: str) -> Step:
    return lambda blocks: blocks.sign(text)


def hide(data: str) -> Step:
    return lambda blocks: blocks.hide(data)


def call(name: str, given: str = "{}") -> Step:
    return lambda blocks: blocks.call(f"id-{name}", name, given)


def argue(text: str) -> Step:
    return lambda blocks: blocks.argue(text)


def finish(reason: str) -> Step:
    return lambda blocks: blocks.finish(reason)


def end(blocks: Blocks) -> Iterator[Event]:
    return blocks.end()


def forget(blocks: Blocks) -> None:
    blocks.forget()


def test_an_answer_with_everything() -> None:
    usage = Usage(1, 2, 3, UsageDetails(1))
    answer = gather(
        played(
            *(hide("aGk="), end, think("Why"), think("?"), sign("s1"), sign("s2"), end),
            *(say("So "), say(""), say("it"), end, say("!"), end),
            *(call("f"), argue('{"a"'), argue(":1}"), end, call("g", '{"b":2}'), end),
            finish("tool_calls"),
        ),
        usage,
    )
    (choice,) = answer.choices
    assert (choice.message.content, choice.message.reasoning_content) == ("So it!", "Why?")
    assert msgspec.to_builtins(choice.message.tool_calls) == [
        {"id": "id-f", "function": {"name": "f", "arguments": '{"a":1}'}, "type": "function"},
        {"id": "id-g", "function": {"name": "g", "arguments": '{"b":2}'}, "type": "function"},
    ]
    assert (choice.finish_reason, answer.usage) == ("tool_calls", usage)
    (part,) = answer.states
    assert (part.choice, part.call, part.state.dialect) == (0, None, "ours")
    assert decode_pieces(part.state.value) == [
        Hidden("aGk="),
        Thought("Why?", "s1s2"),
        6,
        CALL,
        CALL,
    ]


def test_state_comes_before_the_end() -> None:
    *_, state, last = played(hide("x"), say("a"), finish("stop"))
    assert isinstance(state.states[0].state, State)
    assert last.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("thought", [(), (think("a"), end), (think("a"), sign(""), end)])
def test_thoughts_that_nobody_signed_need_not_come_back(thought: tuple[Step, ...]) -> None:
    assert not any(event.states for event in played(*thought, say("b"), finish("stop")))


@pytest.mark.parametrize(
    ("said", "given", "told"),
    [
        ([say("a")], "stop", "stop"),
        ([say("a")], "tool_calls", "stop"),
        ([call("f"), end], "stop", "tool_calls"),
        ([call("f")], "tool_calls", "tool_calls"),
        ([call("f"), end], "length", "length"),
        ([call("f"), end], "content_filter", "content_filter"),
    ],
)
def test_reason_agrees_with_what_was_said(said: list[Step], given: str, told: str) -> None:
    assert played(*said, finish(given))[-1].choices[0].finish_reason == told


def test_call_comes_whole() -> None:
    before = played(call("f"), argue('{"a":'), argue("1}"))
    assert before == []
    (event,) = played(call("f"), argue('{"a":'), argue("1}"), end)
    (fragment,) = event.choices[0].delta.tool_calls or []
    assert (fragment.index, fragment.id, fragment.function.arguments) == (0, "id-f", '{"a":1}')


def test_call_that_is_begun_anew_is_not_told() -> None:
    events = played(call("f"), argue('{"a"'), forget, call("g"), end, finish("tool_calls"))
    calls = [part.delta.tool_calls for event in events for part in event.choices]
    assert [fragment.function.name for fragments in calls for fragment in fragments or ()] == ["g"]


def test_signature_of_a_thought_that_is_begun_anew_is_forgotten() -> None:
    events = played(think("a"), sign("s"), forget, say("b"), finish("stop"))
    assert not any(event.states for event in events)


def test_call_that_the_limit_cuts_is_told_as_far_as_it_came() -> None:
    event, *_ = played(call("f"), argue('{"a":'), end, finish("length"))
    assert (event.choices[0].delta.tool_calls or [])[0].function.arguments == '{"a":'


BROKEN = {
    "a call that is cut": ([call("f"), argue("{"), end, finish("stop")], Failure.TOOL_USE_FAILED),
    "a call within a call": (
        [call("f"), argue("{"), end, call("g")],
        Failure.TOOL_USE_FAILED,
    ),
    "arguments that are a list": ([call("f", "[]"), finish("tool_calls")], Failure.TOOL_USE_FAILED),
    "arguments without a call": ([argue("{")], Failure.BROKEN),
    "a thought without end": ([think("x" * (MAX_KEPT_CHARACTERS + 1))], Failure.BROKEN),
    "a signature without end": ([sign("x" * (MAX_KEPT_CHARACTERS + 1))], Failure.BROKEN),
    "hidden thoughts without end": ([hide("x" * (MAX_KEPT_CHARACTERS + 1))], Failure.BROKEN),
    "arguments without end": ([call("f"), argue("x" * MAX_KEPT_CHARACTERS)], Failure.BROKEN),
    "pieces without end": (
        [call("f"), end] * (MAX_KEPT_CHARACTERS // PIECE_CHARACTERS),
        Failure.BROKEN,
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_answer_is_a_failure(case: str) -> None:
    steps, failure = BROKEN[case]
    with pytest.raises(UpstreamError) as caught:
        played(*steps)
    assert caught.value.failure is failure


@pytest.mark.parametrize("words", ["x", "\N{LATIN SMALL LETTER A WITH DIAERESIS}", "\U0001f600"])
def test_what_is_kept_is_counted_as_if_every_character_were_of_the_largest(words: str) -> None:
    blocks = Blocks("ours")
    assert blocks.kept == 0
    list(blocks.think(words))
    blocks.sign(words * 2)
    assert blocks.kept == len("\U0001f600".encode("utf-32-le")) * 3
    list(blocks.say("text that is passed on"))
    assert blocks.kept == 4 * (3 + PIECE_CHARACTERS)


def test_text_is_bounded_elsewhere() -> None:
    assert len(played(*[say("x" * 1024)] * 5000)) == 5000


@pytest.mark.parametrize(
    ("written", "form"),
    [
        (b"", "{}"),
        (b"null", "{}"),
        (b' { "a" : [ 1.50 , 12345678901234567890123 ] } ', '{"a":[1.50,12345678901234567890123]}'),
        ('{"ä": "\\u00e4 b"}'.encode(), '{"ä":"\\u00e4 b"}'),
    ],
)
def test_arguments_have_one_form_and_lose_nothing(written: bytes, form: str) -> None:
    assert one_form(msgspec.Raw(written)) == form
    if written not in (b"", b"null"):
        assert json.loads(form) == json.loads(written)


def test_arguments_that_are_no_json_are_a_failure() -> None:
    with pytest.raises(UpstreamError):
        one_form(msgspec.Raw(b"{"))


def test_an_answer_in_one_piece_is_the_first_choice() -> None:
    (choice,) = gather(played(say("a"), finish("stop")), None).choices
    assert (choice.index, choice.message.content, choice.finish_reason) == (0, "a", "stop")
