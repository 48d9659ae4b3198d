"""Heads of responses: limits and early refusals; test_against_h11.py has the grammar."""

import pytest

from enclave_server.chat.upstream.response_head import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_INFORMATIONAL,
    Head,
    HeadReader,
    ResponseError,
)

LINE = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def refused(*pieces: bytes) -> bool:
    reader = HeadReader()
    *first, last = pieces
    for piece in first:
        assert reader.feed(piece) is None
    try:
        reader.feed(last)
    except ResponseError:
        return True
    return False


def test_head_is_read_and_what_follows_is_left() -> None:
    reader = HeadReader()
    assert reader.feed(LINE + b"A: b") is None
    head = reader.feed(b"\r\na:\tC \r\n\r\nbody")
    assert head == Head(1, 200, ((b"a", b"b"), (b"a", b"C")))
    assert head.values(b"a") == [b"b", b"C"]
    assert head.values(b"b") == []
    assert reader.rest == b"body"


def test_head_after_informational_ones_is_found_wherever_they_are_split() -> None:
    data = CONTINUE * 2 + LINE + b"A: b\r\n\r\nbody"
    for at in range(1, len(data) - 5):
        reader = HeadReader()
        assert reader.feed(data[:at]) is None
        head = reader.feed(data[at:])
        assert head is not None
        assert (head.status, reader.rest) == (200, b"body")


@pytest.mark.parametrize(
    "beginning",
    [
        b"S",
        b"HTTP/2",
        b"HTTP/1.1 200 OK\n",
        LINE + b"A: b\n",
        LINE + b"A: b\r\n\n",
        CONTINUE + b"x",
    ],
)
def test_what_cannot_become_a_head_is_refused_at_once(beginning: bytes) -> None:
    """Before its end, which may never come."""
    assert refused(beginning)
    assert refused(*(beginning[i : i + 1] for i in range(len(beginning))))


@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.", LINE, LINE + b"A: b\r\n\r", CONTINUE])
def test_what_may_become_a_head_is_waited_for(beginning: bytes) -> None:
    assert not refused(beginning)
    assert not refused(*(beginning[i : i + 1] for i in range(len(beginning))))


def head_of(size: int) -> bytes:
    start = LINE + b"A: "
    return start + b"b" * (size - len(start) - 4) + b"\r\n\r\n"


def test_longest_head() -> None:
    assert not refused(head_of(MAX_HEAD_BYTES))
    assert refused(head_of(MAX_HEAD_BYTES + 1))
    assert not refused(head_of(MAX_HEAD_BYTES)[:-1])
    assert refused(head_of(MAX_HEAD_BYTES + 1)[:-1])


def test_most_fields() -> None:
    assert not refused(LINE + b"A: b\r\n" * MAX_FIELDS + b"\r\n")
    assert refused(LINE + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n")


def test_most_informational_responses() -> None:
    assert not refused(CONTINUE * MAX_INFORMATIONAL)
    assert refused(CONTINUE * MAX_INFORMATIONAL, CONTINUE)


def test_response_that_nobody_asked_for_is_refused() -> None:
    assert refused(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")


@pytest.mark.parametrize("field", [b"Content-Length: 0", b"Transfer-Encoding: chunked"])
def test_informational_response_with_a_body_is_refused(field: bytes) -> None:
    assert refused(b"HTTP/1.1 100 Continue\r\n%b\r\n\r\n" % field)


def test_long_line_of_garbage_takes_no_longer_than_its_length() -> None:
    """Nothing in the grammar goes back: the pattern would otherwise try every split of a line."""
    assert refused(LINE + (b"A" * 30_000 + b"\r\n") * 2 + b"\r\n")
    assert refused(LINE + b"A:" + b" \t" * 30_000 + b"\0\r\n\r\n")
