"""The dialect put together; its parts have tests of their own."""

import json

from enclave_server.chat.conversation import Conversation, Message
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_responses.dialect import OpenAIResponses
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import Failure
from enclave_server.chat.models import Model
from protocol.registry import JSON
from tests.support.responses_server import encode, events_of, message, response, text
from tests.support.upstream_connection import upstream_at


def test_question_answer_stream_and_fault() -> None:
    dialect, model = find_dialect("openai-responses"), Model("m", upstream_at("unix:/x"), "there")
    assert isinstance(dialect, OpenAIResponses)
    question = Conversation(model="m", messages=[Message("user", "Hello")])
    request = dialect.request(question, model, Account("k"))
    assert (request.path, request.accept) == ("/responses", JSON)
    assert request.fields == ((b"Authorization", b"Bearer k"),)
    answer = response(message(text("Paris.")))
    body = json.dumps(answer).encode()
    assert dialect.read(Conversation, body).choices[0].message.content == "Paris."
    assert [*dialect.stream(Conversation).feed(encode(events_of(answer)))][-1].ends
    assert dialect.fault(503, (), b"").failure is Failure.BUSY
