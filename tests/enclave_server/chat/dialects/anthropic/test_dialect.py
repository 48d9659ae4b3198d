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
from protocol.registry import EVENT_STREAM
from tests.support.anthropic_messages import TEXT, answered, message, read, sse
from tests.support.conversations import ALIKE, asked, cases, model

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
