"""What the bench gives to the dialects means in each what it is measured as."""

import pytest

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.table import DIALECTS
from scripts.benchmark.dialects import PIECE, TEXT, model_of, question, samples


@pytest.mark.parametrize("name", DIALECTS)
def test_request_says_all_that_is_asked(name: str) -> None:
    asked = question()
    assert len(asked.messages) == 21
    body = DIALECTS[name].request(asked, model_of(name), Account("key")).body
    assert body.count(TEXT.encode()) == len(asked.messages) + len(asked.tools or ())


@pytest.mark.parametrize("name", DIALECTS)
def test_answers_are_read_whole_and_streamed(name: str) -> None:
    sample = samples()[name]
    (choice,) = DIALECTS[name].read(Conversation, sample.answer).choices
    calls = choice.message.tool_calls or []
    assert choice.message.content == TEXT
    assert [call.function.name for call in calls] == ["f"]
    reader = DIALECTS[name].stream(Conversation)
    list(reader.feed(sample.opening))
    for _ in range(2):
        parts = [part for event in reader.feed(sample.event) for part in event.choices]
        assert [part.delta.content for part in parts] == [PIECE]
