"""Whole requests of outer HTTP for tests, and what a reader makes of them."""

import pytest

from enclave_server.http.limits import Limits
from enclave_server.http.request_head import Head, Refused, parse_head
from enclave_server.http.request_reader import RequestReader

POST = b"POST /v1/ohttp HTTP/1.1\r\nHost: a\r\n"
WHOLE = POST + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: b\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"

Event = tuple[bytes, bytes] | bytes


def read(pieces: list[bytes], limits: Limits | None = None) -> list[Event]:
    """Return method and path of every head, and every body."""
    reader = RequestReader(limits or Limits())
    events: list[Event] = []
    for piece in pieces:
        reader.feed(piece)
        while (event := reader.next_event()) is not None:
            if isinstance(event, Head):
                events.append((event.request.method, event.request.path))
            else:
                events.append(event)
    return events


def status_of(data: bytes, limits: Limits | None = None) -> int:
    """Return the status with which `data` is refused."""
    with pytest.raises(Refused) as refusal:
        read([data], limits)
    return int(refusal.value.status)


def head(line: bytes, *fields: bytes) -> Head:
    return parse_head(b"\r\n".join([line, *fields, b"", b""]), Limits())
