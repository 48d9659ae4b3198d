"""The dialect put together; its parts have tests of their own."""

import json

from enclave_server.chat.conversation import Conversation, Message
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.gemini.dialect import Gemini
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import Failure
from enclave_server.chat.models import Model
from protocol.registry import JSON
from tests.support.gemini_server import candidate, encode, events_of, response, text
from tests.support.upstream_connection import upstream_at


def test_question_answer_stream_and_fault() -> None:
    dialect, model = find_dialect("gemini"), Model("m", upstream_at("unix:/x"), "gemini-3-pro")
    assert isinstance(dialect, Gemini)
    question = Conversation(model="m", messages=[Message("user", "Hello")])
    request = dialect.request(question, model, Account("k"))
    assert (request.path, request.accept) == ("/models/gemini-3-pro:generateContent", JSON)
    assert request.fields == ((b"x-goog-api-key", b"k"),)
    answer = response(candidate(text("Paris.")))
    body = json.dumps(answer).encode()
    assert dialect.read(Conversation, body).choices[0].message.content == "Paris."
    events = [*dialect.stream(Conversation).feed(encode(events_of(answer)))]
    assert events[-1].choices[0].finish_reason == "stop"
    assert dialect.fault(503, (), b"").failure is Failure.BUSY
