"""Chunked bodies: the grammar of RFC 9112, Section 7.1, and nothing beside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.http.limits import Limits
from enclave_server.http.transfer_coding import (
    LAST_CHUNK,
    LINE_BYTES,
    BodyTooLong,
    ChunkedDecoder,
    ChunkedError,
    encode_chunk,
)


def decode(pieces: list[bytes], limits: Limits | None = None) -> tuple[bytes | None, bytes]:
    """Return the body, None if it has not ended, and what followed it."""
    decoder = ChunkedDecoder(limits or Limits())
    buffer = bytearray()
    body: bytes | None = None
    for piece in pieces:
        buffer += piece
        if body is None:
            body = decoder.decode(buffer)
    return body, bytes(buffer)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.binary(max_size=5), st.data())
def test_round_trip_split_anywhere(chunks: list[bytes], rest: bytes, data: st.DataObject) -> None:
    coded = b"".join(encode_chunk(chunk) for chunk in chunks) + LAST_CHUNK + rest
    cut = data.draw(st.integers(0, len(coded)))
    expected = (b"".join(chunks), rest)
    assert decode([coded[:cut], coded[cut:]]) == expected
    assert decode([coded[i : i + 1] for i in range(len(coded))]) == expected


def test_what_came_of_a_chunk_is_taken_at_once_and_its_end_as_one() -> None:
    """What waits in the buffer is counted as well, and copied once more."""
    decoder, buffer = ChunkedDecoder(Limits()), bytearray()
    for piece, held, left in (
        (b"a", 0, b"a"),
        (b"\r\nhello", 5, b""),
        (b"world", 10, b""),
        (b"\r", 10, b"\r"),
        (b"\n3\r\nyo", 12, b""),
        (b"u\r", 13, b"\r"),
    ):
        buffer += piece
        assert decoder.decode(buffer) is None
        assert (len(decoder), bytes(buffer)) == (held, left)


def test_the_longest_lines() -> None:
    line = b"5;a" + b"b" * (LINE_BYTES - 5) + b"\r\n"
    assert decode([line + b"hello\r\n0\r\n\r\n"]) == (b"hello", b"")
    decode([line[:-1]])  # whose end may yet come
    for longer in (line[:-2] + b"b\r\n", line[:-2] + b"b\r"):
        with pytest.raises(ChunkedError):
            decode([longer])


def test_as_many_trailers_as_a_head_may_have() -> None:
    line = b"A: b\r\n"
    limits = Limits(head_bytes=5 * len(line))
    assert decode([b"0\r\n" + 5 * line + b"\r\n"], limits) == (b"", b"")
    with pytest.raises(ChunkedError):
        decode([b"0\r\n" + 5 * line + b"A:\r\n"], limits)


def test_an_empty_chunk_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="empty"):
        encode_chunk(b"")


@pytest.mark.parametrize(
    "line",
    [
        *(b"5", b"0005", b"0000000000000005", b"5;a", b"5;a=b", b'5;a="b;\\"c";d', b"5 ; a = b"),
        b"5;a" + b"b" * 200,
    ],
)
def test_sizes(line: bytes) -> None:
    assert decode([line + b"\r\nhello\r\n0\r\n\r\n"]) == (b"hello", b"")


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b" 5", b"5 ", b"\t5", b"+5", b"-5", b"0x5", b"5_0", b"5h", b"5;", b"5;;a", b"5;a="),
        *(b"5;a\rb", b"5;a\x00", b'5;a="b', b'5;a="b"c', b"5\r", b"5,5", b"0" * 16 + b"5"),
        b"5;a" + b"b" * 300,
    ],
)
def test_bad_sizes(line: bytes) -> None:
    with pytest.raises(ChunkedError):
        decode([line + b"\r\nhello\r\n0\r\n\r\n"])


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\r", b"xx", b"\r\r"])
def test_bad_ends_of_chunks(end: bytes) -> None:
    with pytest.raises(ChunkedError):
        decode([b"5\r\nhello" + end + b"0\r\n\r\n"])


@pytest.mark.parametrize(
    "data", [b"5\nhello\r\n0\r\n\r\n", b"0\n\n", b"0\r\n\n", b"0\r\nA: b\n\r\n"]
)
def test_bare_line_feeds(data: bytes) -> None:
    with pytest.raises(ChunkedError):
        decode([data])


def test_trailers_are_discarded() -> None:
    assert decode([b"0\r\nA: b\r\nC:\r\n\r\nrest"]) == (b"", b"rest")


@pytest.mark.parametrize(
    "trailer",
    [b"Host: a", b"content-length: 1", b"TRANSFER-ENCODING: chunked", b"A", b" A: b", b"A : b"],
)
def test_bad_trailers(trailer: bytes) -> None:
    with pytest.raises(ChunkedError):
        decode([b"0\r\n" + trailer + b"\r\n\r\n"])


def test_limits() -> None:
    two = encode_chunk(b"abc") + encode_chunk(b"def") + LAST_CHUNK
    assert decode([two], Limits(body_bytes=6, body_chunks=3)) == (b"abcdef", b"")
    with pytest.raises(BodyTooLong):
        decode([two], Limits(body_bytes=5))
    with pytest.raises(BodyTooLong):
        decode([two], Limits(body_chunks=2))
    with pytest.raises(ChunkedError):
        decode([b"0\r\n" + b"A: b\r\n" * 100], Limits(head_bytes=256))


def test_an_endless_line_is_refused_early() -> None:
    with pytest.raises(ChunkedError):
        decode([b"5;" + b"a" * 1000])


@given(st.binary(max_size=80))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    try:
        decode([data])
    except (ChunkedError, BodyTooLong):
        return


@pytest.mark.parametrize("data", [b"\n", b"5\r\nhelloXY", b"1\r\na\r\n\n"])
def test_what_is_wrong_is_refused_as_soon_as_it_is_there(data: bytes) -> None:
    with pytest.raises(ChunkedError):
        decode([data])
