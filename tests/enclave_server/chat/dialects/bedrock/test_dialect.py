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
from tests.support.converse import TEXT, streamed, whole
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
