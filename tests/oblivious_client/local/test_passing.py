"""Streams on their way to a program: as they came, without padding, and the end apart."""

import json

import pytest

from oblivious_client.errors import AnswerTruncated, ServiceError
from oblivious_client.local.passing import (
    OWN,
    Fault,
    PassedBlocks,
    PassedChat,
    PassedItems,
    Passing,
    error_object,
)
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


TOO_SLOW = Fault("too slow", "upstream_timeout", "server_error")


def test_failures_are_told_in_the_words_of_each() -> None:
    (chat,) = EventParser().feed(PassedChat().fail(TOO_SLOW))
    assert chat.data == error_object(TOO_SLOW).decode()
    (items,) = EventParser().feed(PassedItems().fail(TOO_SLOW))
    assert items.type == json.loads(items.data)["type"] == "error"
    assert json.loads(items.data)["message"] == "too slow"
    assert json.loads(items.data)["code"] == "upstream_timeout"
    (blocks,) = EventParser().feed(PassedBlocks().fail(Fault("too slow")))
    assert blocks.type == json.loads(blocks.data)["type"] == "error"
    assert json.loads(blocks.data)["error"] == {"type": "api_error", "message": "too slow"}
    (blocks,) = EventParser().feed(PassedBlocks().fail(Fault("full", kind="overloaded_error")))
    assert json.loads(blocks.data)["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (Fault("x", "c", "k"), "other", ("k", "c")),
        (Fault("x", "c"), "other", ("other", "c")),
        (Fault("x"), None, (OWN, None)),
    ],
)
def test_an_error_object_has_a_kind_and_a_code(
    fault: Fault, kind: str | None, told: tuple[str, str | None]
) -> None:
    error = json.loads(error_object(fault, kind))["error"]
    assert (error["message"], error["param"]) == ("x", None)
    assert (error["type"], error["code"]) == told


def test_a_failure_of_the_service_is_passed_on_as_it_said_it() -> None:
    body = {"error": {"code": "rate_limit_exceeded", "message": "too slow"}, "status": "failed"}
    failed = {"type": "response.failed", "response": body}
    said = b"event: response.failed\ndata: " + json.dumps(failed).encode() + b"\n\n"
    passing = PassedItems()
    with pytest.raises(ServiceError) as caught:
        passing.take(said)
    assert caught.value.error_code == "rate_limit_exceeded"
    assert EventParser().feed(passing.fail(TOO_SLOW)) == EventParser().feed(said)
