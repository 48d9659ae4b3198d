"""What is signed of a Responses answer, and that its stream has to say the same."""

import json
from typing import Any

import pytest

from oblivious_client.errors import AnswerTruncated, AnswerUnreadable, ServiceError
from oblivious_client.items import MAX_EVENT_OCTETS, StreamedItems, choice_of
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

SAID = response(
    reasoning("Rain, so"),
    message(text("I "), text("look.")),
    message(refusal("No.")),
    call("f", '{"a":1}'),
    message(text(" Wet.")),
)
CUT = response(
    message(text("We")), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
)


def feed(data: bytes) -> StreamedItems:
    streamed = StreamedItems()
    for start in range(0, len(data), 97):
        streamed.feed(data[start : start + 97])
    return streamed


def test_items_are_one_choice() -> None:
    assert choice_of(SAID) == {
        "index": 0,
        "content": "I look. Wet.",
        "reasoning_content": "Rain, so",
        "refusal": "No.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        ],
        "finish_reason": "tool_calls",
    }


def test_function_in_a_namespace_is_signed_by_its_one_name() -> None:
    (called,) = choice_of(response(call("f", "{}") | {"namespace": "agents"}))["tool_calls"]
    assert called["function"]["name"] == "agents__ns__f"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response(), "stop"),
        (CUT, "length"),
        (CUT | {"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
    ],
    ids=["complete", "cut", "filtered"],
)
def test_answer_ends_for_a_reason(answer: Json, reason: str) -> None:
    assert choice_of(answer)["finish_reason"] == reason


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"output": None, "status": "completed"},
        {"output": ["x"], "status": "completed"},
        {"output": [{"type": "message"}], "status": "completed"},
        {"output": [], "status": "incomplete", "incomplete_details": {"reason": "mood"}},
        {"output": [], "status": "failed"},
    ],
    ids=str,
)
def test_what_has_no_items_is_unreadable(answer: Json) -> None:
    with pytest.raises(AnswerUnreadable):
        choice_of(answer)


@pytest.mark.parametrize("answer", [SAID, CUT, response()], ids=["said", "cut", "nothing"])
def test_stream_is_passed_on_but_for_its_end(answer: Json) -> None:
    data = encode(events_of(answer))
    *before, end = [json.loads(each.split(b"data: ")[1]) for each in data.split(b"\n\n")[:-1]]
    streamed = StreamedItems()
    assert [json.loads(event.data) for event in streamed.feed(data + b"data: {}\n\n")] == before
    assert streamed.last is not None
    assert json.loads(streamed.last.data) == end
    assert streamed.finish() == feed(data).finish() == answer


def test_stream_without_its_end_is_truncated() -> None:
    with pytest.raises(AnswerTruncated):
        feed(encode(events_of(SAID)[:-1])).finish()


def changed(index: int, **members: Any) -> list[Json]:
    events = events_of(SAID)
    chosen = [e for e in events if e["type"].endswith((".delta", "item.done"))][index]
    return [event | members if event is chosen else event for event in events]


@pytest.mark.parametrize(
    "events",
    [
        changed(0, delta="Sun"),
        changed(-2, delta="Dry"),
        changed(-1, item=message(text("Dry."))),
        [e for e in events_of(SAID) if not e["type"].endswith("item.done")],
        [e for e in events_of(SAID) if not e["type"].endswith("arguments.delta")],
        [*events_of(SAID)[:-1], events_of(CUT)[-1]],
    ],
    ids=["thought", "text", "item", "no items", "no arguments", "another end"],
)
def test_stream_that_says_something_else_than_its_end_is_unreadable(events: list[Json]) -> None:
    with pytest.raises(AnswerUnreadable):
        feed(encode(events, typed=False)).finish()


def test_failed_answer_is_the_services() -> None:
    failed = {"type": "response.failed", "response": {"error": {"message": "too slow"}}}
    with pytest.raises(ServiceError, match="too slow"):
        feed(encode([failed], typed=False))


@pytest.mark.parametrize(
    "data",
    [
        b"data: x\n\n",
        b"data: []\n\n",
        b"data: {}\n\n",
        b'data: {"type":3}\n\n',
        b'data: {"type":"a.delta","output_index":0}\n\n',
        b'data: {"type":"a.delta","output_index":0,"delta":3}\n\n',
        b'data: {"type":"a.delta","output_index":[],"delta":"x"}\n\n',
        b'data: {"type":"response.completed","response":null}\n\n',
    ],
)
def test_what_is_no_event_of_a_response_is_unreadable(data: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        feed(data)


def test_no_more_of_an_event_is_kept_than_an_honest_one_has() -> None:
    with pytest.raises(AnswerUnreadable):
        StreamedItems().feed(b"data:" + b" " * (MAX_EVENT_OCTETS + 1))
