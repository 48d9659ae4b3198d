"""Thoughts come back in the places in which they were had, or before everything, never last."""

import pytest

from enclave_server.chat.conversation import Content, Message, Refusal, Text, ToolCall
from enclave_server.chat.thoughts import (
    CALL,
    Hidden,
    Piece,
    Said,
    Thought,
    decode_pieces,
    encode_pieces,
    said,
)

FIRST, SECOND = Thought("a", "s"), Hidden("aGk=")
CALLS = [ToolCall(0, "f", "{}"), ToolCall(1, "g", "{}")]


def test_pieces_come_back_as_they_were() -> None:
    pieces: list[Piece] = [FIRST, 5, SECOND, CALL, 7, CALL]
    assert decode_pieces(encode_pieces(pieces)) == pieces


def test_a_piece_is_as_long_as_any_text_may_be() -> None:
    assert decode_pieces(b"[0,2147483647]") == [CALL, 2**31 - 1]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"{}",
        b"[-1]",
        b"[2147483648]",
        b"[1.5]",
        b'["s"]',
        b'[["s","a"]]',
        b'[["s","a","b","c"]]',
        b'[["x","a"]]',
        b'[["h",1]]',
        b'[{"type":"thinking"}]',
        b"[" * 5000,
    ],
)
def test_what_was_not_given_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="not the value of a state"):
        decode_pieces(value)


@pytest.mark.parametrize(
    ("content", "calls", "pieces", "expected"),
    [
        ("hello", None, [], ["hello"]),
        ("hello", None, [FIRST, 5], [FIRST, "hello"]),
        ("hello", None, [2, FIRST, 3], ["he", FIRST, "llo"]),
        (None, CALLS, [FIRST, CALL, SECOND, CALL], [FIRST, CALLS[0], SECOND, CALLS[1]]),
        ("hello", CALLS, [FIRST, CALL, 5, CALL], [FIRST, CALLS[0], "hello", CALLS[1]]),
        # Text or calls have changed since.
        ("hell", None, [2, FIRST, 3], [FIRST, "hell"]),
        ("hello", CALLS[:1], [5, FIRST, CALL, SECOND, CALL], [FIRST, SECOND, "hello", CALLS[0]]),
        ([Text("he"), Text(""), Refusal("llo")], None, [3, FIRST], [FIRST, "he", "llo"]),
        # No provider goes on from a thought.
        ("hello", None, [5, FIRST], ["hello"]),
        (None, None, [FIRST, SECOND], []),
        ("", None, [FIRST], []),
    ],
)
def test_thoughts_have_their_places(
    content: Content | None,
    calls: list[ToolCall] | None,
    pieces: list[Piece],
    expected: list[Said],
) -> None:
    message = Message("assistant", content, calls=calls)
    assert said(message, pieces) == expected


def test_refusal_is_said_last() -> None:
    assert said(Message("assistant", "a", refusal="no"), []) == ["a", "no"]
