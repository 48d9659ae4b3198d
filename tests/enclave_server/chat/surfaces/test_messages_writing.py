"""Answers in Anthropic's shape: whole, in events, and errors."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import (
    Answer,
    Call,
    CallDelta,
    Choice,
    ChoiceDelta,
    Delta,
    Function,
    FunctionDelta,
    PartState,
    Reply,
    State,
    Usage,
    UsageDetails,
)
from enclave_server.chat.errors import Failure, UpstreamError, invalid
from enclave_server.chat.surfaces.messages_states import wrap, wrap_piece
from enclave_server.chat.surfaces.messages_writing import (
    MessageStream,
    fit_message,
    write_error,
    write_message,
)
from enclave_server.chat.surfaces.surface import Identity
from enclave_server.chat.thoughts import CALL, Hidden, Thought, encode_pieces
from protocol.event_stream import EventParser

IDENTITY = Identity("msg_1", 7, "m", "upstream")
SIGNATURE = {"tee_signature": "s"}
USAGE = Usage(3, 5, 8, UsageDetails(2))
COUNTS = {"input_tokens": 3, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}}

THOUGHT, HIDDEN = Thought("why", "sig"), Hidden("aGk=")
SIGNED = {
    "type": "thinking",
    "thinking": "why",
    "signature": wrap_piece(THOUGHT, "anthropic", IDENTITY.origin),
}
CONCEALED = {
    "type": "redacted_thinking",
    "data": wrap_piece(HIDDEN, "anthropic", IDENTITY.origin),
}


def state_of(*pieces: Any, dialect: str = "anthropic") -> State:
    return State(dialect, encode_pieces(pieces))


def whole(reply: Reply, *states: State, reason: str = "stop") -> dict[str, Any]:
    told = tuple(PartState(0, state) for state in states)
    answer = Answer([Choice(0, reply, finish_reason=reason)], USAGE, told)
    body: dict[str, Any] = json.loads(write_message(answer, IDENTITY, SIGNATURE))
    return body


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_whole_answer() -> None:
    assert whole(Reply(content="Rain")) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [text("Rain")],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": COUNTS,
        "tee_signature": "s",
    }


def test_calls_are_objects() -> None:
    calls = [Call("id", Function("f", '{"a": 1.50}'))]
    body = whole(Reply(content="Look:", tool_calls=calls), reason="tool_calls")
    call = {"type": "tool_use", "id": "id", "name": "f", "input": {"a": 1.5}}
    assert (body["content"], body["stop_reason"]) == ([text("Look:"), call], "tool_use")


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")],
)
def test_why_it_ended(reason: str, told: str) -> None:
    assert whole(Reply(content="a"), reason=reason)["stop_reason"] == told


def test_thoughts_have_their_places() -> None:
    reply = Reply(
        content="Rain", reasoning_content="why", tool_calls=[Call("id", Function("f", "{}"))]
    )
    content = whole(reply, state_of(HIDDEN, 2, THOUGHT, 2, CALL))["content"]
    call = {"type": "tool_use", "id": "id", "name": "f", "input": {}}
    assert content == [CONCEALED, text("Ra"), SIGNED, text("in"), call]


def test_thought_at_the_end_is_told() -> None:
    assert whole(Reply(content="a", reasoning_content="why"), state_of(1, THOUGHT))["content"] == [
        text("a"),
        SIGNED,
    ]


def test_thoughts_without_signature_come_first() -> None:
    unsigned = {"type": "thinking", "thinking": "why", "signature": ""}
    assert whole(Reply(content="a", reasoning_content="why"))["content"] == [unsigned, text("a")]
    other = State("openai-responses", b"items")
    assert whole(Reply(content="a", reasoning_content="why"), other)["content"] == [
        unsigned,
        text("a"),
        {"type": "redacted_thinking", "data": wrap(other, IDENTITY.origin)},
    ]


def test_refusal_is_text() -> None:
    assert whole(Reply(refusal="No."))["content"] == [text("No.")]


# As a stream: every block is told once, in the order in which it came.


def delta(**members: Any) -> list[ChoiceDelta]:
    return [ChoiceDelta(0, Delta(**members))]


def call(index: int, fragment: str, name: str | None = None) -> list[ChoiceDelta]:
    identifier = name and f"id-{name}"
    function = FunctionDelta(name, fragment)
    return delta(tool_calls=[CallDelta(index, identifier, "function", function)])


def events_in(data: bytes) -> list[dict[str, Any]]:
    events = EventParser().feed(data)
    told = [json.loads(event.data) for event in events]
    assert [event.type for event in events] == [event["type"] for event in told]
    return told


def blocks_of(data: bytes) -> list[dict[str, Any]]:
    """Return the blocks that the events make, as an SDK puts them together."""
    blocks: list[dict[str, Any]] = []
    for event in events_in(data):
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append(dict(event["content_block"]))
            case "content_block_delta":
                assert event["index"] == len(blocks) - 1
                for name, piece in event["delta"].items():
                    if name == "partial_json":
                        blocks[-1]["input"] = (blocks[-1]["input"] or "") + piece
                    elif name != "type":
                        blocks[-1][name] += piece
            case "content_block_stop":
                assert event["index"] == len(blocks) - 1
    return blocks


def test_stream_is_events_of_blocks() -> None:
    stream = MessageStream(IDENTITY)
    data = stream.write(delta(role="assistant"))
    data += stream.write(delta(content="Ra")) + stream.write(delta(content="in"))
    data += stream.write([ChoiceDelta(0, finish_reason="length")])
    data += stream.finish(USAGE, SIGNATURE)
    events = events_in(data)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        *2 * ["content_block_delta"],
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["id"] == "msg_1"
    assert events[0]["message"]["content"] == []
    assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert events[-2]["usage"] == COUNTS
    assert events[-1] == {"type": "message_stop", "tee_signature": "s"}
    assert blocks_of(data) == [text("Rain")]


def test_streamed_thoughts_have_their_signatures() -> None:
    stream = MessageStream(IDENTITY)
    data = stream.end_thought(state_of(HIDDEN))
    data += stream.write(delta(reasoning_content="w")) + stream.write(delta(reasoning_content="hy"))
    data += stream.end_thought(state_of(THOUGHT)) + stream.write(delta(content="a"))
    data += stream.end_thought(state_of(Thought("", "sig")))
    data += stream.keep([PartState(0, state_of(HIDDEN, THOUGHT, 1))])
    data += stream.finish(USAGE, SIGNATURE)
    assert blocks_of(data) == [CONCEALED, SIGNED, text("a"), SIGNED | {"thinking": ""}]


def test_streamed_calls() -> None:
    stream = MessageStream(IDENTITY)
    data = stream.write(delta(reasoning_content="why"))
    data += stream.write(call(0, '{"a"', "f")) + stream.write(call(0, ":1}"))
    data += stream.write(call(1, "", "g"))
    other = State("openai-responses", b"items")
    data += stream.keep([PartState(0, other), PartState(0, other, call=1)])
    data += stream.finish(None, SIGNATURE)
    assert blocks_of(data) == [
        {"type": "thinking", "thinking": "why", "signature": ""},
        {"type": "tool_use", "id": "id-f", "name": "f", "input": '{"a":1}'},
        {"type": "tool_use", "id": "id-g", "name": "g", "input": {}},
        {"type": "redacted_thinking", "data": wrap(other, IDENTITY.origin)},
    ]
    with pytest.raises(UpstreamError):
        stream.write(call(0, "more"))


def test_empty_answer_begins_and_ends() -> None:
    data = MessageStream(IDENTITY).finish(None, {})
    assert [event["type"] for event in events_in(data)] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (invalid("No."), "invalid_request_error"),
        (UpstreamError(Failure.LIMITED), "rate_limit_error"),
        (UpstreamError(Failure.BUSY), "overloaded_error"),
        (UpstreamError(Failure.NOT_SERVED), "not_found_error"),
        (UpstreamError(Failure.SLOW), "timeout_error"),
        (UpstreamError(Failure.BROKEN), "api_error"),
        (UpstreamError(Failure.FILTERED), "invalid_request_error"),
    ],
)
def test_errors_have_anthropics_types(error: UpstreamError, kind: str) -> None:
    told = {"type": "error", "error": {"type": kind, "message": error.message}}
    assert json.loads(write_error(error)) == told
    assert events_in(MessageStream(IDENTITY).fail(error)) == [told]


def test_errors_name_the_fields_of_this_api() -> None:
    body = json.loads(write_error(invalid("'reasoning_effort' and 'stop', not 'tools'.")))
    assert body["error"]["message"] == "'output_config.effort' and 'stop_sequences', not 'tools'."


def test_a_field_that_is_not_known_keeps_its_name() -> None:
    told = "Unknown parameter: 'reasoning_effort'."
    body = json.loads(write_error(invalid(told, "reasoning_effort", "unknown_parameter")))
    assert body["error"]["message"] == told


def test_programs_are_told_in_their_words_to_shorten_what_they_send() -> None:
    body = json.loads(write_error(UpstreamError(Failure.TOO_LONG)))
    assert body["error"]["message"].startswith("prompt is too long: ")


def test_calls_of_any_arguments_become_objects() -> None:
    written = ('{"a": 1}', " {} ", "", '{"a":', "{}{}")
    calls = [Call("id", Function("f", each)) for each in written]
    answer = Answer([Choice(0, Reply(tool_calls=calls, refusal="No."))])
    fit_message(answer)
    reply = answer.choices[0].message
    assert [each.function.arguments for each in calls] == ['{"a": 1}', "{}", "{}", "{}", "{}"]
    assert (reply.content, reply.refusal) == ("No.", None)


def test_refusal_is_text_in_a_stream_as_well() -> None:
    stream, parts = MessageStream(IDENTITY), delta(refusal="No.")
    stream.fit(parts)
    assert blocks_of(stream.write(parts)) == [text("No.")]


def test_what_became_of_a_token_is_told_with_the_failure() -> None:
    error = UpstreamError(Failure.BROKEN)
    assert "token" not in json.loads(write_error(error))["error"]
    error.token = "spent"
    assert json.loads(write_error(error))["error"]["token"] == "spent"


def test_of_several_answers_the_first_is_told() -> None:
    choices = [Choice(0, Reply(content="a"), finish_reason="length"), Choice(1, Reply(content="b"))]
    body = json.loads(write_message(Answer(choices), IDENTITY, SIGNATURE))
    assert (body["content"], body["stop_reason"]) == ([text("a")], "max_tokens")
