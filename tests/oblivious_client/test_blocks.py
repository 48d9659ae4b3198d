"""What is signed of a message in Anthropic's shape, and that its stream says nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblivious_client.blocks import MAX_EVENT_OCTETS, StreamedBlocks, answer_in
from oblivious_client.errors import AnswerTruncated, AnswerUnreadable, ServiceError
from tests.support.anthropic_messages import (
    CALL,
    HIDDEN,
    OTHER_CALL,
    TEXT,
    THOUGHT,
    Json,
    answered,
    begin,
    block_events,
    end,
    message,
    sse,
)

SIGNATURE = {"tee_signature": "s", "tee_timestamp": 7}
CONTENT = [HIDDEN, TEXT, THOUGHT, TEXT, CALL, OTHER_CALL]


def told(content: list[Json], reason: str = "end_turn") -> list[Json]:
    """Return the events of a gateway: none but what is signed or is its provider's state."""
    events = answered(content, reason)
    kept = [e for e in events if e.get("delta", {}).get("type") != "citations_delta"]
    return [*kept[:-1], kept[-1] | SIGNATURE]


def streamed(events: list[Json], step: int = 1 << 20) -> StreamedBlocks:
    stream, data = StreamedBlocks(), sse(events)
    for start in range(0, len(data), step):
        stream.feed(data[start : start + step])
    return stream


def choice_of(content: list[Json], reason: str = "end_turn") -> Any:
    return answer_in(json.dumps(message(content, reason)).encode())["choices"][0]


def test_blocks_are_one_choice() -> None:
    body = json.dumps(message(CONTENT, "tool_use") | SIGNATURE).encode()
    assert answer_in(body) == {
        "model": "claude-x",
        **SIGNATURE,
        "choices": [
            {
                "index": 0,
                "content": 2 * TEXT["text"],
                "reasoning_content": THOUGHT["thinking"],
                "tool_calls": [
                    {
                        "id": "toolu_1",
                        "type": "function",
                        "function": {"name": "rain", "arguments": json.dumps(CALL["input"])},
                    },
                    {
                        "id": "toolu_2",
                        "type": "function",
                        "function": {"name": "now", "arguments": "{}"},
                    },
                ],
                "finish_reason": "tool_calls",
            }
        ],
    }


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_stream_is_what_the_whole_answer_is(step: int) -> None:
    stream = streamed(told(CONTENT, "tool_use"), step).finish()
    whole = answer_in(json.dumps(message(CONTENT, "tool_use") | SIGNATURE).encode())
    for answer in (stream, whole):
        for call in answer["choices"][0]["tool_calls"]:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"] or "{}")
    assert stream == whole


def test_last_event_is_held_back() -> None:
    stream = StreamedBlocks()
    passed = stream.feed(sse(told([TEXT])) + sse([{"type": "ping"}]))
    assert stream.last is not None
    assert json.loads(stream.last.data)["type"] == "message_stop"
    assert "message_stop" not in [event.type for event in passed]


@pytest.mark.parametrize(
    ("reason", "signed"),
    [("max_tokens", "length"), ("refusal", "content_filter"), ("end_turn", "stop")],
)
def test_answer_ends_for_a_reason(reason: str, signed: str) -> None:
    assert choice_of([TEXT], reason)["finish_reason"] == signed
    assert streamed(told([TEXT], reason)).finish()["choices"][0]["finish_reason"] == signed


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=9,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3)),
    st.sampled_from([None, 1]),
)
def test_arguments_are_read_as_they_are_written(inputs: list[Json], indent: int | None) -> None:
    calls = [CALL | {"input": given} for given in inputs]
    body = json.dumps(message([TEXT, *calls], "tool_use"), indent=indent)
    told = answer_in(body.encode())["choices"][0]["tool_calls"]
    arguments = [call["function"]["arguments"] for call in told]
    assert [json.loads(text) for text in arguments] == inputs
    assert all(text in body for text in arguments)


def whole(written: str) -> bytes:
    """Return a message with two texts around a call with these arguments."""
    body = json.dumps(message([TEXT, CALL | {"input": {"a": "INPUT"}}, TEXT], "tool_use"))
    return body.replace('{"a": "INPUT"}', written).encode()


@pytest.mark.parametrize(
    "written",
    [
        '{"a": 123456789012345678901234567890}',
        '{"a": 1, "a": 2}',
        '{"a": 1e999, "input": {"content": []}, "b": "\\ud800"}',
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_arguments_of_more_meanings_than_one_are_read_as_they_are_written(written: str) -> None:
    choice = answer_in(whole(written))["choices"][0]
    assert choice["tool_calls"][0]["function"]["arguments"] == written
    assert choice["content"] == 2 * TEXT["text"]


@pytest.mark.parametrize(
    "body",
    [
        whole('{"a": NaN}'),
        whole('{"a": 1'),
        whole('{}, "input": {}'),
        whole('{}, "name": "another"'),
        whole("{}").replace(b'"content"', b'"content": [], "content"'),
        whole("{}").replace(b'"model"', b'"model": "another", "model"'),
        whole("{}").replace(b'"input_tokens": ', b'"input_tokens": ' + b"1" * 20),
        whole('{"a":' * 100_000 + "1" + "}" * 100_000),
        b'{"content":"{"input": {}}","stop_reason":"end_turn","model":"m"}',
    ],
    ids=lambda body: body[:80].decode(),
)
def test_more_meanings_anywhere_else_are_unreadable(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        answer_in(body)


START = {"type": "content_block_start", "index": 0}
ODD: dict[str, list[Json]] = {
    "no beginning": told([TEXT])[1:],
    "two beginnings": [begin(), *told([TEXT])],
    "a beginning that says something": [
        {"type": "message_start", "message": message([TEXT], None)},
        *told([TEXT])[1:],
    ],
    "a block that says something as it begins": [begin(), START | {"content_block": TEXT}],
    "a block out of order": [begin(), START | {"index": 1, "content_block": HIDDEN}],
    "a block within a block": [begin(), *list(block_events(0, TEXT))[:1] * 2],
    "a delta of another type": [
        begin(),
        *list(block_events(0, TEXT))[:1],
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta"}},
    ],
    "thoughts in a text": [
        begin(),
        *list(block_events(0, TEXT))[:1],
        *list(block_events(0, THOUGHT))[1:2],
    ],
    "a delta of another block": [
        begin(),
        *list(block_events(0, TEXT))[:1],
        *list(block_events(1, TEXT))[1:2],
    ],
    "an end of another block": [
        begin(),
        *list(block_events(0, TEXT))[:1],
        *list(block_events(1, TEXT))[-1:],
    ],
    "a delta without a block": [begin(), *list(block_events(0, TEXT))[1:2]],
    "two reasons": [begin(), *end("end_turn")[:1] * 2],
    "an unknown event": [begin(), {"type": "new_event"}],
    "no type": [{}],
}


@pytest.mark.parametrize("case", ODD)
def test_stream_that_says_anything_else_is_refused(case: str) -> None:
    data = b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in ODD[case])
    with pytest.raises(AnswerUnreadable):
        StreamedBlocks().feed(data)


@pytest.mark.parametrize("count", range(len(told([TEXT]))))
def test_stream_that_is_cut_is_no_answer(count: int) -> None:
    with pytest.raises(AnswerTruncated):
        streamed(told([TEXT])[:count]).finish()


def test_stream_that_ends_within_a_block_is_cut() -> None:
    events = [event for event in told([TEXT]) if event["type"] != "content_block_stop"]
    with pytest.raises(AnswerTruncated):
        streamed(events).finish()


@pytest.mark.parametrize("last", [None, "new_reason", 7])
def test_stream_without_a_reason_is_unreadable(last: Any) -> None:
    with pytest.raises(AnswerUnreadable):
        streamed(told([TEXT], last)).finish()


def test_failure_in_a_stream_is_raised() -> None:
    with pytest.raises(ServiceError, match="too slow"):
        streamed([begin(), {"type": "error", "error": {"type": "x", "message": "too slow"}}])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"content":[]}',
        b'{"content":7,"stop_reason":"end_turn","model":"m"}',
        b'{"content":[{"type":"x"}],"stop_reason":"end_turn","model":"m"}',
        b'{"content":[{"type":"text"}],"stop_reason":"end_turn","model":"m"}',
        b'{"content":[{"type":"tool_use","id":"i","name":"f"}],"stop_reason":"tool_use","model":"m"}',
        b'{"content":["x"],"stop_reason":"end_turn","model":"m"}',
        b'{"content":[],"stop_reason":"new","model":"m"}',
    ],
)
def test_what_is_no_message_is_unreadable(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        answer_in(body)


def test_event_without_end_is_refused() -> None:
    with pytest.raises(AnswerUnreadable):
        StreamedBlocks().feed(b"data: " + bytes(MAX_EVENT_OCTETS))
