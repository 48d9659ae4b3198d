"""The dialect put together; its parts have tests of their own."""

import json

import pytest
from msgspec.structs import replace

from enclave_server.chat.conversation import Continuation, Conversation
from enclave_server.chat.dialects.amazon.frames import MEDIA_TYPE
from enclave_server.chat.dialects.bedrock.dialect import Bedrock
from enclave_server.chat.dialects.bedrock.messages import NAME
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import ChatError, Failure
from protocol.registry import JSON
from tests.support.anthropic_messages import read
from tests.support.conversations import ALIKE, asked, cases, model
from tests.support.converse import CALL, HIDDEN, OTHER_CALL, TEXT, THOUGHT, streamed, whole
from tests.support.provider import Chat, answering_in_turn, reply_of
from tests.support.upstream import sending
from tests.support.upstream_connection import upstream_at

SIGNING = Account("secret", {"access_key_id": "AKID"})
CLAUDE = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-x-v1:0"


def test_question_answer_stream_and_fault() -> None:
    dialect = find_dialect(NAME)
    request = dialect.request(asked(), model(CLAUDE), Account("k"))
    quoted = CLAUDE.replace(":", "%3A").replace("/", "%2F")
    assert (request.path, request.accept) == (f"/model/{quoted}/converse", JSON)
    assert request.fields == ((b"Authorization", b"Bearer k"),)
    assert json.loads(request.body).keys() == {"messages"}
    answer = dialect.read(Conversation, whole([TEXT], "end_turn"))
    assert answer.choices[0].message.content == TEXT["text"]
    assert read(dialect.stream(Conversation), streamed([TEXT], "end_turn"))[-1].ends
    assert dialect.fault(429, (), b"").failure is Failure.LIMITED


def test_streams_are_asked_for_elsewhere() -> None:
    request = Bedrock().request(asked(stream=True), model("a"), Account())
    assert (request.path, request.accept) == ("/model/a/converse-stream", MEDIA_TYPE)
    assert b"stream" not in request.body


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", cases(NAME))
def test_identical_prompts_leave_identical_requests(case: str, stream: bool) -> None:
    upstream = upstream_at("tcp://127.0.0.1:1", host_name="bedrock-runtime.eu-west-1.amazonaws.com")
    one, other = (
        Bedrock(lambda: 7.0).request(
            replace(cases(NAME)[case], stream=stream), model(CLAUDE, upstream=upstream), SIGNING
        )
        for _ in range(2)
    )
    assert one == other
    assert b"secret" not in b"".join(value for _, value in one.fields)


@pytest.mark.parametrize("case", ALIKE)
def test_prompts_of_one_meaning_leave_identical_requests(case: str) -> None:
    one, other = ALIKE[case]
    dialect = find_dialect(NAME)
    assert dialect.request(one, model(), Account()) == dialect.request(other, model(), Account())


def test_prompts_are_not_continued() -> None:
    with pytest.raises(ChatError) as caught:
        Bedrock().request(Continuation(model="m", prompt="x"), model(), Account())
    assert (caught.value.status, caught.value.param) == (400, "prompt")


QUESTION = {"role": "user", "content": "Weather?"}
RAIN = {"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}
THINKING = [HIDDEN, TEXT, THOUGHT, CALL, OTHER_CALL]


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_go_to_the_client_and_come_back_where_they_were(stream: bool) -> None:
    content = streamed(THINKING, "tool_use") if stream else whole(THINKING, "tool_use")
    behaviour = answering_in_turn(
        MEDIA_TYPE.decode() if stream else "application/json", content, content
    )
    chat = Chat(NAME, behaviour)
    wishes = {"stream": stream, "tools": [RAIN], "reasoning_effort": "high"}
    (first,) = chat.exchange({"messages": [QUESTION], **wishes})
    said = reply_of(first)
    assert said["reasoning_content"] == "It is wet."
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "No"} for call in said["tool_calls"]
    ]
    again = Chat(NAME, behaviour)
    again.exchange({"messages": [QUESTION, said, *results], **wishes})
    _, assistant, user = again.asked[0].json["messages"]
    first_call, second_call = assistant["content"][3:]
    assert assistant["content"][:3] == [HIDDEN, TEXT, THOUGHT]
    assert first_call["toolUse"] == CALL["toolUse"] | {"toolUseId": "call00000"}
    assert second_call["toolUse"] == OTHER_CALL["toolUse"] | {"toolUseId": "call00001"}
    assert [list(block) for block in user["content"]] == [["toolResult"], ["toolResult"]]
    assert again.asked[0].target.startswith("/model/eu.anthropic.x/converse")


def test_exception_is_told_in_the_client_s_words() -> None:
    behaviour = sending(
        400,
        {"message": "Input is too long for requested model."},
        "x-amzn-errortype: ValidationException:http://internal.amazon.com/",
    )
    ((status, content),) = Chat(NAME, behaviour).exchange({"messages": [QUESTION]})
    assert (status, json.loads(content)["error"]["code"]) == (400, "context_length_exceeded")
    assert b"requested" not in content
