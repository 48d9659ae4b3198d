"""Streamed answers of Anthropic's API: the same as whole ones, split anywhere."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.conversation import END, Event
from enclave_server.chat.dialects.anthropic.answers import read_answer
from enclave_server.chat.dialects.anthropic.events import EventReader
from enclave_server.chat.dialects.blocks import gather
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.event_stream import MAX_EVENT_OCTETS
from tests.support.anthropic_messages import (
    CALL,
    CONTENTS,
    OTHER_CALL,
    TEXT,
    THOUGHT,
    Json,
    answered,
    begin,
    block_events,
    end,
    message,
    read,
    sse,
)
from tests.support.handing import check_handing, size_of_events
from tests.support.kept import kept_of
from tests.support.numbers import choices_in

WORDS = TEXT["text"]


def streamed(events: list[Json], step: int = 1 << 20) -> list[Event]:
    return read(EventReader(), sse(events), step)


def failure_of(events: list[Json] | bytes) -> Failure:
    data = events if isinstance(events, bytes) else sse(events)
    with pytest.raises(UpstreamError) as caught:
        read(EventReader(), data)
    return caught.value.failure


def said(events: list[Event]) -> tuple[str, str]:
    deltas = [part.delta for event in events for part in event.choices]
    text = "".join(delta.content or "" for delta in deltas)
    return text, "".join(delta.reasoning_content or "" for delta in deltas)


@pytest.mark.parametrize("case", CONTENTS)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_stream_means_what_the_whole_answer_means(case: str, step: int) -> None:
    reason, content = CONTENTS[case]
    events = streamed(answered(content, reason), step)
    assert events[-1] == END
    (usage,) = [event.usage for event in events if event.usage is not None]
    whole = read_answer(json.dumps(message(content, reason)).encode())
    assert gather(events, usage) == whole


@given(st.data())
def test_stream_is_read_alike_however_it_is_split(data: Any) -> None:
    octets = sse(answered([THOUGHT, TEXT, CALL], "tool_use"))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=9)))
    reader, pieces = EventReader(), zip([0, *cuts], [*cuts, len(octets)], strict=True)
    split = [event for start, stop in pieces for event in reader.feed(octets[start:stop])]
    assert split == read(EventReader(), octets)


def test_role_comes_first_and_words_at_once() -> None:
    events = streamed([begin(), *block_events(0, TEXT)])
    assert events[0].choices[0].delta.role == "assistant"
    assert [event.choices[0].delta.content for event in events[1:]] == [
        "Rain",
        ", sa",
        "ys A",
        "nn.",
    ]


def test_text_with_which_a_block_begins_is_read() -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": TEXT}
    assert said(streamed([begin(), start, *end("end_turn")])) == (WORDS, "")


def test_call_whose_arguments_come_at_once_is_read() -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": CALL}
    (choice,) = gather(streamed([begin(), start, *end("tool_use")]), None).choices
    (call,) = choice.message.tool_calls or []
    assert json.loads(call.function.arguments) == CALL["input"]


def test_answer_that_begins_twice_is_one() -> None:
    (first, *rest) = answered([TEXT], "end_turn")
    assert said(streamed([first, first, *rest])) == (WORDS, "")


def test_call_that_is_begun_anew_is_told_once() -> None:
    cut = list(block_events(1, CALL))[:4]
    again = [begin(), *block_events(0, THOUGHT), *block_events(1, OTHER_CALL), *end("tool_use")]
    events = streamed([begin(), *block_events(0, THOUGHT), *cut, *again])
    (call,) = gather(events, None).choices[0].message.tool_calls or []
    assert call.id == "toolu_2"
    assert said(events) == ("", 2 * THOUGHT["thinking"])


def test_blocks_may_forget_to_end() -> None:
    events = answered([THOUGHT, TEXT, CALL, OTHER_CALL], "tool_use")
    unended = [event for event in events if event["type"] != "content_block_stop"]
    assert gather(streamed(unended), None) == gather(streamed(events), None)


def test_unknown_events_and_deltas_are_passed_over() -> None:
    odd: list[Json] = [
        {"type": "something_new", "data": [1]},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "text": "x"}},
    ]
    head, *rest = answered([TEXT], "end_turn")
    assert streamed([head, *odd, *rest]) == streamed([head, *rest])


def test_nothing_ends_the_answer_but_its_end() -> None:
    events = streamed(answered([TEXT], "end_turn")[:-1])
    assert END not in events
    assert not any(part.finish_reason for event in events for part in event.choices)


def test_reason_may_be_left_out() -> None:
    (choice,) = gather(streamed(answered([CALL], None)), None).choices
    assert choice.finish_reason == "tool_calls"


START = {"type": "content_block_start", "index": 0}
BROKEN: dict[str, tuple[list[Json] | bytes, Failure]] = {
    "another model": (
        [begin(), START | {"content_block": {"type": "fallback"}}],
        Failure.BROKEN,
    ),
    "a block of nothing": ([begin(), START], Failure.BROKEN),
    "a turn that should go on": (answered([TEXT], "pause_turn"), Failure.BROKEN),
    "an unknown reason": (answered([TEXT], "new_reason"), Failure.BROKEN),
    "arguments that are cut": (
        [begin(), *list(block_events(0, CALL))[:3], *end("tool_use")],
        Failure.TOOL_USE_FAILED,
    ),
    "arguments without a call": (
        [
            begin(),
            {
                "type": "content_block_delta",
                "delta": {"type": "input_json_delta", "partial_json": "{"},
            },
        ],
        Failure.BROKEN,
    ),
    "no JSON": (b"data: {\n\n", Failure.BROKEN),
    "another type": (b'data: {"type":1}\n\n', Failure.BROKEN),
    "an event without a type": (b"data: {}\n\n", Failure.BROKEN),
    "half a character": (b'data: {"type":"\\ud800"\n\n', Failure.BROKEN),
    "an event without end": (b"data: " + bytes(MAX_EVENT_OCTETS), Failure.BROKEN),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_answer_is_a_failure(case: str) -> None:
    events, failure = BROKEN[case]
    assert failure_of(events) is failure


@pytest.mark.parametrize("before", [[], answered([TEXT], "end_turn")[:4]])
@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("overloaded_error", Failure.BUSY),
        ("rate_limit_error", Failure.LIMITED),
        ("api_error", Failure.BROKEN),
        ("timeout_error", Failure.SLOW),
        ("new_error", Failure.BROKEN),
    ],
)
def test_error_may_come_first_or_later(before: list[Json], kind: str, failure: Failure) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "x"}}
    assert failure_of([*before, error]) is failure
    assert failure_of([*before, {"type": "error"}]) is Failure.BROKEN


def test_events_before_a_broken_one_are_read() -> None:
    events = EventReader().feed(sse([begin()]) + b"data: {\n\n")
    assert next(iter(events)).choices
    with pytest.raises(UpstreamError):
        next(iter(events))


def test_call_that_the_limit_cuts_is_told_as_far_as_it_came() -> None:
    events = streamed([begin(), *list(block_events(0, CALL))[:3], *end("max_tokens")])
    (choice,) = gather(events, None).choices
    (call,) = choice.message.tool_calls or []
    assert (call.function.arguments, choice.finish_reason) == ('{"pl', "length")


def test_what_is_kept_of_an_answer_and_of_an_event_is_counted() -> None:
    thought = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "Hm"}}
    assert kept_of(EventReader(), sse([begin(), thought])) == 4 * len("Hm")


def test_what_is_large_is_read_by_another_that_is_given_the_state() -> None:
    data = sse(answered([THOUGHT, TEXT, CALL], "tool_use"))
    check_handing(EventReader, data, size_of_events(data))


def test_all_that_is_said_is_of_the_first_choice() -> None:
    data = sse(answered([THOUGHT, TEXT, CALL], "tool_use"))
    assert choices_in(EventReader(), data) == {0}
