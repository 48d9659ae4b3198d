"""Bodies of responses: framing, limits, and what comes after them."""

import pytest

from enclave_server.chat.upstream.response_body import (
    LINE_BYTES,
    MAX_TRAILER_BYTES,
    Body,
    Chunked,
    Counted,
    UntilClose,
    body_of,
    keeps_connection,
)
from enclave_server.chat.upstream.response_head import Head, ResponseError


def head(*fields: tuple[bytes, bytes], status: int = 200, minor_version: int = 1) -> Head:
    return Head(minor_version, status, fields)


CODED = (b"transfer-encoding", b"chunked")
THREE = (b"content-length", b"3")


def test_framing_is_chosen_by_the_head() -> None:
    assert isinstance(body_of(head(CODED)), Chunked)
    assert isinstance(body_of(head(THREE)), Counted)
    assert isinstance(body_of(head()), UntilClose)
    for fields in ((), (THREE,), (CODED,)):
        for status in (204, 304):
            assert body_of(head(*fields, status=status)).is_whole


@pytest.mark.parametrize(
    "wrong",
    [
        head(THREE, CODED),
        head(THREE, THREE),
        head(CODED, CODED),
        head(CODED, minor_version=0),
        head(CODED, THREE, status=204),
        head((b"content-length", b""), status=304),
        head((b"content-length", b"3, 3")),
        head((b"content-length", b"1" * 16)),
        head((b"content-length", "\N{ARABIC-INDIC DIGIT ONE}".encode())),
        head((b"transfer-encoding", b"gzip")),
        head((b"transfer-encoding", b"gzip, chunked")),
        head((b"transfer-encoding", b"")),
    ],
)
def test_framing_that_may_be_read_in_two_ways_is_refused(wrong: Head) -> None:
    with pytest.raises(ResponseError):
        body_of(wrong)


@pytest.mark.parametrize(
    ("wanted", "options", "minor_version"),
    [
        (True, (), 1),
        (True, (b"keep-alive",), 1),
        (True, (b"closed, not-close",), 1),
        (False, (b"close",), 1),
        (False, (b"CLOSE",), 1),
        (False, (b"keep-alive ,\tClose",), 1),
        (False, (b"keep-alive", b"close"), 1),
        (False, (), 0),
        (False, (b"keep-alive",), 0),
    ],
)
def test_connection_is_kept_unless_told_otherwise(
    wanted: bool, options: tuple[bytes, ...], minor_version: int
) -> None:
    fields = ((b"connection", option) for option in options)
    assert keeps_connection(head(*fields, minor_version=minor_version)) is wanted


def test_counted_body_ends_at_its_length() -> None:
    body = Counted(5)
    assert body.feed(b"abc") == b"abc"
    assert not body.is_whole
    with pytest.raises(ResponseError):
        body.end()
    assert body.feed(b"defg") == b"de"
    assert (body.is_whole, body.has_surplus) == (True, True)
    body.end()


def test_counted_body_of_exactly_its_length_has_no_surplus() -> None:
    body = Counted(2)
    assert body.feed(b"ab") == b"ab"
    assert (body.is_whole, body.has_surplus) == (True, False)
    empty = Counted(0)
    assert empty.is_whole
    assert empty.feed(b"x") == b""
    assert empty.has_surplus


def test_body_until_close_is_whole_at_the_end_alone() -> None:
    body = UntilClose()
    assert body.feed(b"abc") == b"abc"
    assert not body.is_whole
    body.end()
    assert body.is_whole


def fed(body: Body, *pieces: bytes) -> bytes:
    return b"".join(map(body.feed, pieces))


CHUNKS = b"3;x=y\r\nabc\r\n00B\r\nd\r\nefghijk\n\r\n0\r\nA: b\r\nC:\r\n\r\n"


def test_chunks_are_put_together_however_they_are_split() -> None:
    for at in range(len(CHUNKS)):
        body = Chunked()
        assert fed(body, CHUNKS[:at], CHUNKS[at:]) == b"abcd\r\nefghijk\n"
        assert (body.is_whole, body.has_surplus, body.is_broken) == (True, False, False)
    body = Chunked()
    assert fed(body, *(CHUNKS[i : i + 1] for i in range(len(CHUNKS)))) == b"abcd\r\nefghijk\n"
    assert body.is_whole


def test_sizes_are_hexadecimal() -> None:
    for line, size in ((b"10", 16), (b"fF", 255), (b"000a", 10)):
        body = Chunked()
        assert body.feed(line + b"\r\n" + size * b"x" + b"\r\n0\r\n\r\n") == size * b"x"
        assert (body.is_whole, body.has_surplus) == (True, False)


def test_part_of_a_chunk_is_given_at_once() -> None:
    body = Chunked()
    assert body.feed(b"A\r\nabc") == b"abc"
    assert body.feed(b"defghij") == b"defghij"
    assert body.feed(b"\r") == b""
    assert body.feed(b"\n1\r\nk") == b"k"


def test_what_comes_after_the_last_chunk_is_surplus() -> None:
    body = Chunked()
    assert body.feed(CHUNKS + b"H") == b"abcd\r\nefghijk\n"
    assert (body.is_whole, body.has_surplus) == (True, True)


def test_chunks_without_their_end_are_no_body() -> None:
    for at in range(len(CHUNKS)):
        body = Chunked()
        body.feed(CHUNKS[:at])
        with pytest.raises(ResponseError):
            body.end()


def test_error_comes_after_what_was_good() -> None:
    body = Chunked()
    assert body.feed(b"1\r\na\r\nx\r\n") == b"a"
    assert body.is_broken
    body = Chunked()
    with pytest.raises(ResponseError):
        body.feed(b"x\r\n")
    assert body.is_broken


def refused(*pieces: bytes) -> bool:
    body = Chunked()
    try:
        fed(body, *pieces)
    except ResponseError:
        return True
    return body.is_broken


def test_longest_size_line() -> None:
    def line(size: int) -> bytes:
        return b"1;a=" + b"b" * (size - 6) + b"\r\n"

    assert not refused(line(LINE_BYTES), b"a\r\n")
    assert refused(line(LINE_BYTES + 1))
    assert not refused(line(LINE_BYTES)[:-1])
    assert refused(line(LINE_BYTES + 1)[:-1])


def test_longest_trailers() -> None:
    """Counted over all lines, whether they come together or apart."""
    line = b"A: " + b"b" * 123 + b"\r\n"
    count = MAX_TRAILER_BYTES // len(line)
    for pieces in ([line * count], [line] * count):
        assert not refused(b"0\r\n", *pieces, b"\r\n")
        assert refused(b"0\r\n", *pieces, b"A:\r\n")
    assert refused(b"0\r\n", b"A: " + b"b" * MAX_TRAILER_BYTES)


@pytest.mark.parametrize("trailer", [b"A\r\n", b"A : b\r\n", b" A: b\r\n", b"A: \0\r\n", b"A: b\n"])
def test_malformed_trailers_are_refused(trailer: bytes) -> None:
    assert refused(b"0\r\n" + trailer)


def test_a_body_says_how_it_is_fed() -> None:
    with pytest.raises(NotImplementedError):
        Body().feed(b"")
