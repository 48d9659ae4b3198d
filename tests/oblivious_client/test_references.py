"""Items that a program refers to are put in their place before the request is sealed."""

import json
from typing import Any

import pytest

from oblivious_client.references import References

CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
TEXT = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "1"}


def reference(identifier: Any) -> dict[str, Any]:
    return {"type": "item_reference", "id": identifier}


def asked(*items: Any, **members: Any) -> bytes:
    return json.dumps({"model": "m", "input": [*items], **members}).encode()


@pytest.fixture
def references() -> References:
    kept = References()
    kept.keep({"output": [TEXT, CALL]})
    return kept


def test_references_become_the_items_they_name(references: References) -> None:
    body = references.resolve(asked(reference("msg_1"), reference("fc_1"), RESULT, stream=True))
    assert json.loads(body) == {"model": "m", "input": [TEXT, CALL, RESULT], "stream": True}


@pytest.mark.parametrize(
    "body",
    [
        asked(TEXT, RESULT),
        asked(reference("fc_2")),
        asked(reference(7)),
        asked({"role": "user", "content": "item_reference"}),
        b'{"input":"item_reference"}',
        b'{"input":[{"type":"item_reference","id":"fc_1"}]',
        b'{"input":[{"type":"item_reference","id":"fc_1"}],"input":[]}',
        b'["item_reference"]',
        b"\xffitem_reference",
    ],
)
def test_all_else_stays_to_the_octet(references: References, body: bytes) -> None:
    assert references.resolve(body) is body


def test_answers_without_items_leave_nothing() -> None:
    references = References()
    for answer in ({}, {"output": None}, {"output": [{"type": "message"}, {"id": None}]}):
        references.keep(answer)
    body = asked(reference("msg_1"))
    assert references.resolve(body) is body


def test_the_oldest_are_forgotten_first() -> None:
    size = len(json.dumps(CALL))
    references = References(most=2 * size)
    for name in ("fc_1", "fc_2", "fc_2", "fc_3"):
        references.keep({"output": [CALL | {"id": name}]})
    first, later = asked(reference("fc_1")), asked(reference("fc_2"), reference("fc_3"))
    assert references.resolve(first) is first
    assert b"item_reference" not in references.resolve(later)


def test_an_item_that_is_larger_than_all_room_is_not_kept() -> None:
    references = References(most=9)
    references.keep({"output": [CALL]})
    body = asked(reference("fc_1"))
    assert references.resolve(body) is body


def test_all_room_is_used_and_the_oldest_alone_makes_more() -> None:
    size = len(json.dumps(CALL))
    for most, is_known in ((size, True), (size - 1, False)):
        references = References(most=most)
        references.keep({"output": [CALL]})
        assert (b"item_reference" not in references.resolve(asked(reference("fc_1")))) is is_known
