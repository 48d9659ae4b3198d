"""Chunked transfer coding: our two readers and h11 find one body, however it is cut."""

import re

import h11

from enclave_server.chat.upstream.response_body import Chunked
from enclave_server.chat.upstream.response_head import ResponseError
from enclave_server.http import transfer_coding
from enclave_server.http.limits import Limits
from enclave_server.http.transfer_coding import BodyTooLong, ChunkedDecoder, ChunkedError
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Refused, same, ways

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMITS = Limits(body_bytes=4096, body_chunks=64)
attempt = Attempt(ChunkedError, BodyTooLong, ResponseError)

FAULTS = (
    slips("enclave_server.http.transfer_coding._take_line", ChunkedError),
    returns(
        "enclave_server.http.transfer_coding.ChunkedDecoder.decode", lambda body: body and body[1:]
    ),
    slips("enclave_server.chat.upstream.response_body._await_line", ResponseError),
    returns("enclave_server.http.transfer_coding.encode_chunk", lambda chunk: chunk[:-1]),
)


def seeds() -> list[bytes]:
    """Return bodies with extensions and trailers, and what two readers might take otherwise."""
    return [
        b"3\r\nabc\r\n0\r\n\r\n",
        b'5;a=b;c="d\\"e" ;f\r\nhello\r\n00\r\nA: b\r\nc:\r\n\r\nGET',
        b"0\r\n\r\n",
        b"0\r\nContent-Length: 1\r\n\r\n",
        b"0 ;a\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"10000\r\n",
        b"1;" + b"a" * 260 + b"\r\n",
        b"1\r\na\r\n" * 70,
        b"fffffffffffffffff\r\n",
    ]


def run(data: bytes) -> None:
    """Read as a server and as a client, in all ways, and as h11 does."""
    served = same(attempt(_as_server, pieces) for pieces in ways(data))
    asked = same(attempt(_as_client, pieces) for pieces in ways(data))
    if isinstance(served, bytes):
        assert isinstance(asked, Refused) or asked == served
        # h11 wants no white space before a semicolon, where RFC 9112 has it.
        assert re.search(rb"[ \t];", data) or _by_h11(data) == served
    if data:
        coded = transfer_coding.encode_chunk(data[:4096]) + transfer_coding.LAST_CHUNK
        assert _as_server([coded]) == _as_client([coded]) == data[:4096]


def _as_server(pieces: list[bytes]) -> bytes | None:
    decoder, buffer = ChunkedDecoder(LIMITS), bytearray()
    for piece in pieces:
        buffer += piece
        if (body := decoder.decode(buffer)) is not None:
            return body
        assert len(buffer) <= transfer_coding.LINE_BYTES
    return None


def _as_client(pieces: list[bytes]) -> bytes | None:
    body, content = Chunked(), b""
    for piece in pieces:
        content += body.feed(piece)
        if body.is_whole:
            return content
        if body.is_broken:
            raise ResponseError
    return None


def _by_h11(data: bytes) -> bytes:
    connection, body = h11.Connection(h11.SERVER), b""
    connection.receive_data(HEAD + data)
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Event)
        body += bytes(event.data) if isinstance(event, h11.Data) else b""
    return body
