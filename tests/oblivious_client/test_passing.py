"""Streams on their way to a program: as they came, without padding, and the end apart."""

import json

import pytest

from oblivious_client.errors import AnswerTruncated
from oblivious_client.passing import PassedBlocks, PassedChat, PassedItems, Passing, error_object
from protocol.event_stream import EventParser
from tests.support.anthropic_messages import CALL, THOUGHT, answered, sse
from tests.support.responses_server import encode, events_of, message, response, text
from tests.support.upstream import stream_of

ITEMS = encode(events_of(response(message(text("Paris.")))))
CHAT = b"".join(stream_of(["Par", "is."]))
BLOCKS = sse(answered([THOUGHT, CALL], "tool_use"))
PADDING = b": padding\n\n"


@pytest.mark.parametrize(
    ("passing", "data"),
    [(PassedChat(), CHAT), (PassedItems(), ITEMS), (PassedBlocks(), BLOCKS)],
)
def test_end_follows_what_was_taken(passing: Passing, data: bytes) -> None:
    head, tail = data[:99], data[99:]
    taken = passing.take(PADDING + head) + passing.take(tail)
    said = EventParser().feed(data)
    assert [(e.type, json.loads(e.data)) for e in EventParser().feed(taken)] == [
        (e.type, json.loads(e.data)) for e in said[:-1]
    ]
    assert passing.finish()
    assert EventParser().feed(passing.end()) == said[-1:]


@pytest.mark.parametrize("passing", [PassedChat(), PassedItems(), PassedBlocks()])
def test_without_an_end_there_is_none_to_pass_on(passing: Passing) -> None:
    with pytest.raises(AnswerTruncated):
        passing.finish()
    assert PassedItems().end() == PassedBlocks().end() == b""


def test_failures_are_told_in_the_words_of_each() -> None:
    (chat,) = EventParser().feed(PassedChat().fail("too slow"))
    (items,) = EventParser().feed(PassedItems().fail("too slow"))
    assert json.loads(chat.data)["error"]["message"] == "too slow"
    assert chat.data == error_object("too slow", "oblivious_client_error").decode()
    assert items.type == json.loads(items.data)["type"] == "error"
    assert json.loads(items.data)["message"] == "too slow"
    (blocks,) = EventParser().feed(PassedBlocks().fail("too slow"))
    assert blocks.type == json.loads(blocks.data)["type"] == "error"
    assert json.loads(blocks.data)["error"] == {"type": "api_error", "message": "too slow"}
