"""A streamed answer of the Responses API means what the whole one does, however it is cut."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from enclave_server.chat.dialects.openai_responses.answers import read_answer
from enclave_server.chat.dialects.openai_responses.keepsakes import MAX_ENTRIES
from enclave_server.chat.dialects.openai_responses.streams import EventReader
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.event_stream import MAX_EVENT_OCTETS
from tests.support.handing import check_handing, size_of_events
from tests.support.kept import kept_of
from tests.support.meanings import everywhere, meaning_of, meaning_of_stream
from tests.support.numbers import choices_in
from tests.support.responses_server import (
    call,
    encode,
    events_of,
    message,
    reasoning,
    refusal,
    response,
    text,
)

Json = dict[str, Any]

TOKENS = [
    {"token": "Par", "bytes": [80, 97, 114], "logprob": -0.5, "top_logprobs": []},
    {
        "token": "is.",
        "bytes": [105, 115, 46],
        "logprob": -0.25,
        "top_logprobs": [{"token": "is.", "bytes": [105, 115, 46], "logprob": -0.25}],
    },
]

ANSWERS = {
    "text": response(message(text("Paris is wet: 雨."))),
    "no text at all": response(message(text(""))),
    "two messages": response(
        message(text("I look."), phase="commentary"), message(text("Wet."), phase="final_answer")
    ),
    "likelihoods": response(message(text("Paris.", logprobs=TOKENS))),
    "a refusal": response(message(refusal("I will not."))),
    "parallel calls": response(call("f", '{"a":1}', 1), call("f", '{"a":2}', 2)),
    "a call without arguments": response(call("f", "")),
    "text and a call": response(message(text("I look.")), call("f", '{"a": [1]}')),
    "reasoning": response(
        reasoning(thought="It rains, so wet."), message(text("Wet.", logprobs=[]))
    ),
    "reasoning retold": response(reasoning("**One**", "**Two**"), message(text("Wet."))),
    "reasoning twice": response(
        reasoning("One", encrypted_content="AB=="), reasoning("Two"), message(text("Wet."))
    ),
    "reasoning that comes back": response(
        reasoning("Why", encrypted_content="AB=="), call("f", '{"a":1}')
    ),
    "a limit": response(
        message(text("Par")),
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    ),
    "a filter": response(
        message(text("Par")), status="incomplete", incomplete_details={"reason": "content_filter"}
    ),
    "no usage": response(message(text("Wet.")), usage=None),
}


def streamed(events: list[Json], cuts: Any = (), *, typed: bool = True) -> Json:
    data = encode(events, typed=typed)
    return meaning_of_stream(EventReader(), data, everywhere(data) if cuts is everywhere else cuts)


def whole(answer: Json) -> Json:
    return meaning_of(read_answer(json.dumps(answer).encode()))


@pytest.mark.parametrize("cuts", [(), everywhere], ids=["whole", "octet by octet"])
@pytest.mark.parametrize("case", ANSWERS)
def test_stream_means_what_the_whole_answer_does(case: str, cuts: Any) -> None:
    assert streamed(events_of(ANSWERS[case]), cuts) == whole(ANSWERS[case])


def test_of_reasoning_that_is_shown_and_retold_what_comes_first_is_told() -> None:
    answer = response(reasoning("Short", thought="Long"), message(text("Wet.")))
    said = streamed(events_of(answer))
    assert said["choices"][0]["reasoning"] == "Short"


def without(*types: str) -> Callable[[list[Json]], list[Json]]:
    return lambda events: [event for event in events if not event["type"].endswith(types)]


LEFT_OUT: dict[str, Callable[[list[Json]], list[Json]]] = {
    "no fragments": without(".delta"),
    "no fragments, and no ends of them": without(".delta", "arguments.done", "text.done"),
    "items that are only done": without(".delta", ".added", "arguments.done"),
    "nothing but the end": lambda events: events[-1:],
    "no fields that say the type": lambda events: events,
}


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("habit", LEFT_OUT)
def test_what_servers_leave_out_is_taken_from_elsewhere(case: str, habit: str) -> None:
    data = encode(LEFT_OUT[habit](events_of(ANSWERS[case])))
    lines = data.splitlines(keepends=True)
    data = b"".join(line for line in lines if not line.startswith(b"event:"))
    assert meaning_of_stream(EventReader(), data + b"data: [DONE]\n\n") == whole(ANSWERS[case])


def test_arguments_are_told_as_they_come() -> None:
    events = events_of(response(call("f", '{"a": [1, 2, 3]}')))
    told = [
        fragment.function.arguments
        for event in EventReader().feed(encode(events))
        for choice in event.choices
        for fragment in choice.delta.tool_calls or ()
        if fragment.function.arguments
    ]
    deltas = [event["delta"] for event in events if event["type"].endswith("arguments.delta")]
    assert told == deltas
    assert len(told) > 1


def test_items_may_be_done_in_another_order() -> None:
    answer = ANSWERS["reasoning that comes back"]
    *events, end = events_of(answer)
    done = [event for event in events if event["type"].endswith("item.done")]
    others = [event for event in events if event not in done]
    assert streamed([*others, *reversed(done), end]) == whole(answer)


@pytest.mark.parametrize("case", ANSWERS)
def test_an_item_that_is_done_twice_is_told_once(case: str) -> None:
    events = LEFT_OUT["items that are only done"](events_of(ANSWERS[case]))
    twice = [
        event for event in events for _ in range(2 if event["type"].endswith("item.done") else 1)
    ]
    assert streamed(twice) == whole(ANSWERS[case])


def test_unknown_events_are_passed_over_whatever_they_hold() -> None:
    unknown = {"type": "response.something.new", "delta": {"x": 1}, "output_index": "first"}
    first, *rest = events_of(ANSWERS["text"])
    assert streamed([first, unknown, *rest], typed=False) == whole(ANSWERS["text"])


def test_nothing_is_read_after_the_end() -> None:
    data = encode(events_of(ANSWERS["text"]))
    assert meaning_of_stream(EventReader(), data + b"data: nonsense\n\n") == whole(ANSWERS["text"])


FAILED = {"code": "server_error", "message": "secret"}

FAILURES: dict[str, tuple[list[Any], Failure]] = {
    "an event of an error": ([{"type": "error", **FAILED}], Failure.BROKEN),
    "an error inside of an event": (
        [{"type": "error", "error": {"type": "insufficient_quota", "message": "secret"}}],
        Failure.REFUSED,
    ),
    "an error without a type": ([{"error": {"code": 429, "message": "x"}}], Failure.LIMITED),
    "too long": (
        [{"type": "error", "code": "context_length_exceeded", "message": "x"}],
        Failure.TOO_LONG,
    ),
    "an error of another shape": ([{"type": "error", "delta": 1, "code": "429"}], Failure.LIMITED),
    "a failed answer": (
        [{"type": "response.failed", "response": {"status": "failed", "error": FAILED}}],
        Failure.BROKEN,
    ),
    "a failed answer that tells nothing": (
        [{"type": "response.failed", "response": {"status": "failed", "output": []}}],
        Failure.BROKEN,
    ),
    "an end for a reason that is not known": (
        [
            {
                "type": "response.incomplete",
                "response": {"status": "incomplete", "incomplete_details": {"reason": "mood"}},
            }
        ],
        Failure.BROKEN,
    ),
    "an end without its answer": ([{"type": "response.completed"}], Failure.BROKEN),
    "arguments of no call": (
        [{"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"}],
        Failure.BROKEN,
    ),
    "an end of no call's arguments": (
        [{"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{}"}],
        Failure.BROKEN,
    ),
    "one item twice": (
        2 * [{"type": "response.output_item.added", "output_index": 0, "item": call("f", "")}],
        Failure.BROKEN,
    ),
    "a call without a name": (
        [{"type": "response.output_item.added", "item": call("", "")}],
        Failure.BROKEN,
    ),
    "a known event of another shape": (
        [{"type": "response.output_text.delta", "delta": {"x": 1}}],
        Failure.BROKEN,
    ),
    "a list": ([[]], Failure.BROKEN),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_in_a_stream(case: str) -> None:
    events, failure = FAILURES[case]
    data = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    with pytest.raises(UpstreamError) as caught:
        meaning_of_stream(EventReader(), data)
    assert caught.value.failure is failure
    assert "secret" not in str(caught.value.encode())


@pytest.mark.parametrize(
    "data", [b"data: {\n\n", b"data: \xff\n\n", b"data: " + b"[" * 9999 + b"\n\n"]
)
def test_what_is_no_event_is_a_failure(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        meaning_of_stream(EventReader(), data)


def test_no_more_is_kept_than_an_answer_can_have() -> None:
    item = {"type": "response.output_text.delta", "delta": "x"}
    data = b"".join(encode([{**item, "output_index": n}], typed=False) for n in range(MAX_ENTRIES))
    reader = EventReader()
    assert len([*reader.feed(data)]) == MAX_ENTRIES
    with pytest.raises(UpstreamError):
        [*reader.feed(encode([{**item, "output_index": MAX_ENTRIES}], typed=False))]
    with pytest.raises(UpstreamError):
        [*EventReader().feed(b"data:" + b" " * (MAX_EVENT_OCTETS + 1))]


def test_what_is_kept_of_reasoning_and_of_an_event_is_counted() -> None:
    items = [reasoning("Why", encrypted_content="AB=="), reasoning("How", encrypted_content="CD==")]
    told = [
        {
            "type": "response.output_item.done",
            "sequence_number": index,
            "output_index": index,
            "item": item,
        }
        for index, item in enumerate(items)
    ]
    one = kept_of(EventReader(), encode(told[:1]))
    assert one > len("WhyAB==")
    assert kept_of(EventReader(), encode(told)) == 2 * one


def test_what_is_large_is_read_by_another_that_is_given_the_state() -> None:
    said = (reasoning("Hm.", encrypted_content="x"), message(text("Wet.")), call("f", '{"a":1}'))
    data = encode(events_of(response(*said)))
    check_handing(EventReader, data, size_of_events(data))


def test_all_that_is_said_is_of_the_first_choice() -> None:
    said = (reasoning("Hm.", encrypted_content="x"), message(text("Wet.")), call("f", '{"a":1}'))
    assert choices_in(EventReader(), encode(events_of(response(*said)))) == {0}
