"""What a chat completion's request means in the neutral form, and how answers are written."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import (
    Answer,
    AnyObject,
    Call,
    Choice,
    Conversation,
    Function,
    Image,
    Message,
    ObjectOf,
    PartState,
    Refusal,
    Reply,
    State,
    Text,
    Tool,
    ToolCall,
    ToolNamed,
    Usage,
    UsageDetails,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.states import read as read_state
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.surface import Identity
from protocol.event_stream import EventParser

SURFACE = ChatCompletions()
IDENTITY = Identity("chatcmpl-1", 5, "m", "up")
URL = "https://x/y"
SIGNATURE = {"tee_timestamp": 1}


def read(*messages: dict[str, Any], **fields: Any) -> Conversation:
    said = messages or ({"role": "user", "content": "Hello"},)
    return SURFACE.read(json.dumps({"model": "m", "messages": said, **fields}).encode())


def called(identifier: str, **more: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        **more,
    }


def test_messages_are_read_by_their_role() -> None:
    question = read(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": URL, "detail": "low"}}],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": "no"},
    )
    assert question.messages == [
        Message("system", "Be brief."),
        Message("developer", [Text("Be kind.")]),
        Message("user", [Image(URL, "low")]),
        Message("assistant", [Refusal("no")], "no"),
    ]


def test_calls_are_known_by_their_number_and_results_by_the_latest_of_a_name() -> None:
    question = read(
        {"role": "assistant", "tool_calls": [called("x"), called("y", index=1)]},
        {"role": "tool", "tool_call_id": "y", "content": "1"},
        {"role": "assistant", "tool_calls": [called("x")]},
        {"role": "tool", "tool_call_id": "x", "content": "2"},
    )
    assert [message.result_of for message in question.messages] == [None, 1, None, 2]
    assert question.messages[0].calls == [ToolCall(0, "f", "{}"), ToolCall(1, "f", "{}")]
    assert question.messages[2].calls == [ToolCall(2, "f", "{}")]


def test_two_calls_of_one_message_cannot_have_the_same_name() -> None:
    with pytest.raises(ChatError) as caught:
        read({"role": "assistant", "tool_calls": [called("x"), called("y"), called("x")]})
    assert (caught.value.status, caught.value.param) == (400, "messages[0].tool_calls")


def test_wishes_are_read() -> None:
    question = read(
        temperature=1,
        logit_bias={"7": 1, "50256": -100},
        tools=[{"type": "function", "function": {"name": "f", "strict": True}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
        stream=True,
        stream_options={"include_usage": True},
        user="ada",
    )
    assert question.temperature == 1
    assert list((question.logit_bias or {}).items()) == [("50256", -100), ("7", 1)]
    assert question.tools == [Tool("f", strict=True)]
    assert question.tool_choice == ToolNamed("f")
    assert question.response_format == ObjectOf("s", schema={})
    assert (question.stream, question.usage) == (True, True)
    assert read(response_format={"type": "json_object"}).response_format == AnyObject()


def test_what_is_not_said_is_absent() -> None:
    expected = Conversation(model="m", messages=[Message("user", "Hello")])
    assert read(temperature=None, stream=False, logit_bias={}) == expected


def test_nobody_can_put_a_state_into_a_part() -> None:
    state = {"dialect": "openai-chat", "value": "AA=="}
    with pytest.raises(ChatError) as caught:
        read({"role": "user", "content": [{"type": "text", "text": "x", "state": state}]})
    assert caught.value.param == "messages[0].content[0].state"


def test_states_are_told_in_extra_content_of_messages_and_calls() -> None:
    reply = Reply(content="Hello", tool_calls=[Call("a", Function("f", "{}"))])
    given = (PartState(0, State("d", b"v")), PartState(0, State("d", b"w"), 0))
    answer = Answer([Choice(0, reply, finish_reason="stop")], states=given)
    (choice,) = json.loads(SURFACE.write(answer, IDENTITY, SIGNATURE))["choices"]
    (call,) = choice["message"]["tool_calls"]
    told = [read_state(part["extra_content"]) for part in (choice["message"], call)]
    assert told == [State("d", b"v", ("up", "m")), State("d", b"w", ("up", "m"))]
    (event,) = EventParser().feed(SURFACE.stream(IDENTITY).keep(given))
    first, second = json.loads(event.data)["choices"]
    assert first["delta"].keys() == {"extra_content"}
    assert second["delta"]["tool_calls"][0] == {
        "index": 0,
        "function": {"arguments": ""},
        "extra_content": call["extra_content"],
    }


def test_whole_answer_is_written() -> None:
    reply = Reply(
        content="Hello", tool_calls=[Call("a", Function("f", "{}"))], reasoning_content="Hm"
    )
    counts = Usage(1, 2, 3, UsageDetails(1))
    answer = Answer([Choice(0, reply, finish_reason="stop")], counts)
    assert json.loads(SURFACE.write(answer, IDENTITY, SIGNATURE)) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "tool_calls": [
                        {
                            "id": "a",
                            "function": {"name": "f", "arguments": "{}"},
                            "type": "function",
                        }
                    ],
                    "reasoning_content": "Hm",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 3,
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        "tee_timestamp": 1,
    }
