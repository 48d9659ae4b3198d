"""Heads of responses on the wire (RFC 9112, Section 4)."""

from http import HTTPStatus

from enclave_server.http.messages import Headers

_STATUS_LINES = {
    int(status): b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}

PROCESSING = _STATUS_LINES[102] + b"\r\n"


def encode_head(status: int, headers: Headers) -> bytes:
    """Return the head of an answer. RFC 9112, Section 2.5: our version, whatever the peer's."""
    lines = [b"%b: %b\r\n" % field for field in headers]
    return b"%b%b\r\n" % (_STATUS_LINES[status], b"".join(lines))
