"""HTTP/1.1 at the ends of a check."""

import asyncio

import pytest

from scripts.relay_kit.http1 import Stream, encode_chunk, encode_head

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"


async def read(data: bytes) -> tuple[str, bytes, bytes]:
    """Return reason, body, and what was seen apart from it, of a message that `data` is."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    stream = Stream(reader, writer=None)  # type: ignore[arg-type]  # nothing is sent
    head = await stream.head()
    body = b"".join([piece async for piece in stream.body(head)])
    return head.start[2], body, bytes(stream.seen)


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"3\r\nsea\r\n3;a=b\r\nled\r\n0\r\nX: y\r\n\r\nmore",
        SIZED + b"sealedmore",
        b"HTTP/1.1 200 OK\r\n\r\nsealed",
    ],
)
def test_a_body_is_read_to_its_end(data: bytes) -> None:
    reason, body, seen = asyncio.run(read(data))
    assert (reason, body) == ("OK", b"sealed")
    assert b"sealed" not in seen


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"3\r\nse",
        CHUNKED + b"3\r\nsea\r\n",
        CHUNKED + b"3\r\nsea\r\n0\r\n",
        SIZED + b"seale",
    ],
)
def test_a_body_without_its_end_is_an_error(data: bytes) -> None:
    with pytest.raises(EOFError):
        asyncio.run(read(data))


def test_what_is_written() -> None:
    assert encode_head("GET / HTTP/1.1", [("Host", "r")]) == b"GET / HTTP/1.1\r\nHost: r\r\n\r\n"
    assert encode_chunk(b"sealed") == b"6\r\nsealed\r\n"
    assert encode_chunk(b"sealed", b"a=b") == b"6;a=b\r\nsealed\r\n"
