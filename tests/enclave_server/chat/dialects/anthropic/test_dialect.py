"""The dialect put together, wherever it is spoken; its parts have tests of their own."""

import json

import pytest
from msgspec.structs import replace

from enclave_server.chat.conversation import Continuation, Conversation
from enclave_server.chat.dialects.anthropic.dialect import Anthropic
from enclave_server.chat.dialects.anthropic.messages import NAME
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import ChatError, Failure
from enclave_server.chat.profiles import Profile
from protocol.registry import EVENT_STREAM
from tests.support.anthropic_messages import (
    CALL,
    HIDDEN,
    OTHER_CALL,
    TEXT,
    THOUGHT,
    answered,
    message,
    read,
    sse,
)
from tests.support.conversations import ALIKE, asked, cases, model
from tests.support.provider import Chat, answering_in_turn, reply_of
from tests.support.upstream import sending

NAMES = ("anthropic", "anthropic-bedrock", "anthropic-vertex")


def test_question_answer_stream_and_fault() -> None:
    dialect = Anthropic()
    request = dialect.request(asked(stream=True), model(), Account("k"))
    assert (request.path, request.accept) == ("/messages", EVENT_STREAM)
    assert json.loads(request.body)["stream"] is True
    body = json.dumps(message([TEXT], "end_turn")).encode()
    assert dialect.read(Conversation, body).choices[0].message.content == TEXT["text"]
    stream = dialect.stream(Conversation)
    assert read(stream, sse(answered([TEXT], "end_turn")))[-1].ends
    assert dialect.fault(529, (), b"").failure is Failure.BUSY


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", cases(NAME))
def test_identical_prompts_leave_identical_requests(name: str, case: str, stream: bool) -> None:
    dialect = find_dialect(name)
    one, other = (
        dialect.request(replace(cases(NAME)[case], stream=stream), model(), Account("k"))
        for _ in range(2)
    )
    assert one == other


@pytest.mark.parametrize("case", ALIKE)
def test_prompts_of_one_meaning_leave_identical_requests(case: str) -> None:
    one, other = ALIKE[case]
    dialect = find_dialect(NAME)
    assert dialect.request(one, model(), Account()) == dialect.request(other, model(), Account())


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_not_continued(name: str) -> None:
    with pytest.raises(ChatError) as caught:
        find_dialect(name).request(Continuation(model="m", prompt="x"), model(), Account())
    assert (caught.value.status, caught.value.param) == (400, "prompt")


def test_errors_at_amazon_are_amazons() -> None:
    fields = ((b"x-amzn-errortype", b"ThrottlingException"),)
    assert find_dialect("anthropic-bedrock").fault(400, fields, b"").failure is Failure.LIMITED


QUESTION = {"role": "user", "content": "Weather?"}
RAIN = {"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}
THINKING = [HIDDEN, TEXT, THOUGHT, CALL, OTHER_CALL]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("always", [True, False])
def test_thoughts_go_to_the_client_and_come_back_where_they_were(
    stream: bool, always: bool
) -> None:
    asks_for_stream = stream or always
    answer = (
        sse(answered(THINKING, "tool_use"))
        if asks_for_stream
        else json.dumps(message(THINKING, "tool_use")).encode()
    )
    media_type = "text/event-stream" if asks_for_stream else "application/json"
    chat = Chat(NAME, answering_in_turn(media_type, answer), Profile(streams_always=always))
    wishes = {"stream": stream, "tools": [RAIN], "reasoning_effort": "high"}
    (first,) = chat.exchange({"messages": [QUESTION], **wishes})
    said = reply_of(first)
    assert said["reasoning_content"] == THOUGHT["thinking"]
    assert said["content"] == TEXT["text"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "No"} for call in said["tool_calls"]
    ]
    chat = Chat(NAME, answering_in_turn(media_type, answer), Profile(streams_always=always))
    chat.exchange({"messages": [QUESTION, said, *results], **wishes})
    (asked_again,) = chat.asked
    _, assistant, user = asked_again.json["messages"]
    expected = [HIDDEN, TEXT, THOUGHT, CALL | {"id": "call00000"}, OTHER_CALL | {"id": "call00001"}]
    del expected[3]["caller"]
    assert assistant["content"] == expected
    assert [block["tool_use_id"] for block in user["content"]] == ["call00000", "call00001"]
    assert asked_again.fields["x-api-key"] == "k"
    assert asked_again.fields.keys() == {
        *("host", "accept", "accept-encoding", "content-type", "content-length", "user-agent"),
        *("anthropic-version", "x-api-key"),
    }


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, "prompt is too long: 9 > 8", (400, "context_length_exceeded")),
        (429, "org-7 is limited", (429, "rate_limit_exceeded")),
        (529, "org-7 waits", (503, "overloaded")),
    ],
)
def test_errors_are_told_in_the_client_s_words(
    status: int, error: str, code: tuple[int, str]
) -> None:
    kinds = {400: "invalid_request_error", 429: "rate_limit_error", 529: "overloaded_error"}
    body = {"type": "error", "error": {"type": kinds[status], "message": error}}
    ((answered_with, content),) = Chat(NAME, sending(status, body)).exchange(
        {"messages": [QUESTION]}
    )
    assert (answered_with, json.loads(content)["error"]["code"]) == code
    assert error.encode() not in content
