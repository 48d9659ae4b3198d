"""The dialect put together; its parts have tests of their own."""

from enclave_server.chat.conversation import Conversation, Message
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_chat.dialect import OpenAIChat
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import Failure
from enclave_server.chat.models import Model
from protocol.registry import JSON
from tests.support.upstream import completion, event, stream_of
from tests.support.upstream_connection import upstream_at


def test_it_is_the_one_that_is_spoken_unless_another_is_named() -> None:
    assert isinstance(find_dialect(upstream_at("unix:/x").dialect), OpenAIChat)


def test_question_answer_stream_and_fault() -> None:
    dialect, model = OpenAIChat(), Model("m", upstream_at("unix:/x"), "there")
    question = Conversation(model="m", messages=[Message("user", "Hello")])
    request = dialect.request(question, model, Account("k"))
    assert (request.path, request.accept) == ("/chat/completions", JSON)
    assert request.fields == ((b"Authorization", b"Bearer k"),)
    body = event(completion("Paris."))[len("data: ") :]
    assert dialect.read(Conversation, body).choices[0].message.content == "Paris."
    events = [*dialect.stream(Conversation).feed(b"".join(stream_of(["Paris."])))]
    assert events[-1].ends
    assert dialect.fault(503, (), b"").failure is Failure.BUSY
