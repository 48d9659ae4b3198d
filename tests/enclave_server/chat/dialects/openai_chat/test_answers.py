"""What is read of OpenAI-compatible answers: known members alone, in one plain form."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import (
    END,
    ChoiceDelta,
    Continuation,
    Conversation,
    Delta,
    Event,
    Kind,
    Usage,
)
from enclave_server.chat.dialects.openai_chat.answers import ChunkReader, read_answer
from enclave_server.chat.errors import UpstreamError
from tests.support.upstream import DONE, chunk_of, completion, event


def whole(kind: Kind, *choices: dict[str, Any]) -> Any:
    return read_answer(kind, json.dumps(completion("", choices=choices)).encode())


def test_choices_come_in_order_and_end_with_a_reason() -> None:
    said = [{"index": 1, "message": {"role": "x"}}, {"index": 0, "message": {"content": "a"}}]
    answer = whole(Conversation, *said)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert {choice.message.role for choice in answer.choices} == {"assistant"}
    assert answer.usage == Usage(5, 7, 12)


def test_text_is_read_as_content() -> None:
    (choice,) = whole(Continuation, {"index": 0, "text": "a", "finish_reason": "length"}).choices
    assert (choice.message.content, choice.finish_reason) == ("a", "length")


@pytest.mark.parametrize("kind", [Conversation, Continuation])
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{}]}'])
def test_what_is_no_answer_is_a_failure(kind: Kind, body: bytes) -> None:
    with pytest.raises(UpstreamError):
        read_answer(kind, body)


def test_chunks_become_events_and_done_the_end() -> None:
    reader = ChunkReader(Conversation)
    data = event(chunk_of({"content": "a", "reasoning": "b"}, usage={"prompt_tokens": 1})) + DONE
    assert [*reader.feed(data[:9]), *reader.feed(data[9:])] == [
        Event([ChoiceDelta(0, Delta(content="a"))], Usage(1)),
        END,
    ]


def test_text_chunks_are_read_as_content() -> None:
    reader = ChunkReader(Continuation)
    said = [{"index": 0, "text": "a"}, {"index": 1, "text": "", "finish_reason": "stop"}]
    assert [*reader.feed(event({"choices": said}))] == [
        Event([ChoiceDelta(0, Delta(content="a")), ChoiceDelta(1, finish_reason="stop")])
    ]


def test_events_before_a_broken_one_are_read() -> None:
    events = ChunkReader(Conversation).feed(event(chunk_of({"content": "a"})) + event("no"))
    assert next(iter(events)).choices
    with pytest.raises(UpstreamError):
        next(iter(events))
