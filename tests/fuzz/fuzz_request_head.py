"""Outer requests: both readings of a head agree, whole and octet by octet; h11 is the second."""

from dataclasses import replace

from enclave_server.http import request_head
from enclave_server.http.limits import Limits
from enclave_server.http.request_head import Head
from enclave_server.http.request_reader import RequestReader
from tests.enclave_server.http import test_request_head as heads
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import same, ways
from tests.support.outer_requests import CHUNKED, WHOLE

MAX_BYTES = 1024
SMALL = Limits(head_bytes=128, head_fields=4, target_bytes=16, body_bytes=8, body_chunks=3)


def _kept_otherwise(head: Head | None) -> Head | None:
    return head and replace(head, keep_alive=not head.keep_alive)


FAULTS = (
    slips("enclave_server.http.request_reader.parse_head"),
    returns("enclave_server.http.request_head.parse_plain", _kept_otherwise),
    replaced("enclave_server.http.request_head._is_plain", lambda fields, version: True),
    replaced("enclave_server.http.request_head._PLAIN_FRAMING", request_head._FRAMING),
)


def seeds() -> list[bytes]:
    """Return heads of relays, requests with bodies, and those that are known to be malformed."""
    odd = [
        b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
        b"\r\nGET /",
    ]
    odd.append(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n")
    return [*heads.PLAIN, WHOLE, CHUNKED, WHOLE + CHUNKED, *odd, *heads.CORPUS]


def run(data: bytes) -> None:
    """Compare both readings, and all ways of cutting under small limits."""
    heads.check_alike(data)
    # Of two rules that a head breaks, the one whose octets come first is told.
    same(_outcome(pieces) for pieces in ways(data))


def _outcome(pieces: list[bytes]) -> tuple[list[object], bool]:
    reader, held = RequestReader(SMALL), 0
    events: list[object] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next_event()) is not None:
                events.append(event)
            held = max(held, reader.held)
    except request_head.Refused:
        return events, True
    assert held <= max(map(len, pieces), default=0) + SMALL.head_bytes + SMALL.body_bytes
    return events, False
