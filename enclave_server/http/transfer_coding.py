"""Chunked transfer coding (RFC 9112, Section 7.1), without I/O.

h11's reader accepts what other parsers read differently (any octets as a chunk extension,
white space after the size, bare LF in trailers, trailers that carry framing), so bodies of
requests are decoded here.
"""

import re

from enclave_server.http.limits import Limits
from protocol.errors import ProtocolError

# A size, its extensions and CRLF. Nobody is known to send extensions to a gateway.
LINE_BYTES = 256

TOKEN = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (TOKEN, TOKEN, _QUOTED)
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:%b)*\r\n" % _EXTENSION)
_TRAILER_LINE = re.compile(rb"(%b):[\t \x21-\x7e\x80-\xff]*\r\n" % TOKEN)

# RFC 9110, Section 6.5.1: fields for framing, routing, modifiers, authentication and content
# MUST NOT come as trailers. A parser in front of us might merge them into the header section.
_NOT_IN_TRAILERS = frozenset(
    b"""authorization cache-control connection content-encoding content-length content-range
    content-type cookie expect host keep-alive max-forwards proxy-authorization proxy-connection
    range te trailer transfer-encoding upgrade""".split()
)

LAST_CHUNK = b"0\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    """Return `data`, which must not be empty (that would end the body), as one chunk."""
    if not data:
        raise ValueError("an empty chunk would end the body")
    return b"%x\r\n%b\r\n" % (len(data), data)


class ChunkedError(ProtocolError):
    """The coding is malformed."""


class BodyTooLong(ProtocolError):
    """The body, or its count of chunks, is above the limit."""


class ChunkedDecoder:
    """Takes one coded body from the front of a buffer, however it is split."""

    __slots__ = ("_body", "_chunks", "_in_trailers", "_limits", "_missing", "_trailer_bytes")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._body = bytearray()
        self._chunks = 0
        self._missing = 0  # octets of the current chunk, with its CRLF, yet to come
        self._in_trailers = False
        self._trailer_bytes = 0

    def __len__(self) -> int:
        """Return how many octets of the body are held."""
        return len(self._body)

    def decode(self, buffer: bytearray) -> bytes | None:
        """Consume the front of `buffer`; return the body at its end, None if more is needed.

        Raises ChunkedError or BodyTooLong.
        """
        start = 0
        try:
            while True:
                line_or_data = self._chunk_end(buffer, start)
                if line_or_data is None:
                    return None
                start, finished = line_or_data
                if finished:
                    return bytes(self._body)
        finally:
            del buffer[:start]

    def _chunk_end(self, buffer: bytearray, start: int) -> tuple[int, bool] | None:
        """Consume one line or one piece of data; return where it ends and if the body does."""
        if self._missing:
            return self._take_data(buffer, start)
        line = _take_line(buffer, start)
        if line is None:
            return None
        end = start + len(line)
        if self._in_trailers:
            return end, self._take_trailer(line)
        self._take_size(line)
        return end, False

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise ChunkedError
        size = int(match[1], 16)
        self._chunks += 1
        if (
            len(self._body) + size > self._limits.body_bytes
            or self._chunks > self._limits.body_chunks
        ):
            raise BodyTooLong
        self._in_trailers = size == 0
        self._missing = size + 2 if size else 0

    def _take_data(self, buffer: bytearray, start: int) -> tuple[int, bool] | None:
        available = len(buffer) - start
        if not available:
            return None
        if available < self._missing:
            # Keep the CRLF together, so that it is compared in one place.
            piece = min(available, self._missing - 2)
            if piece <= 0:
                return None
            self._body += buffer[start : start + piece]
            self._missing -= piece
            return start + piece, False
        end = start + self._missing
        if buffer[end - 2 : end] != b"\r\n":
            raise ChunkedError
        self._body += buffer[start : end - 2]
        self._missing = 0
        return end, False

    def _take_trailer(self, line: bytes) -> bool:
        """Check and discard a trailer field; return True at the empty line."""
        if line == b"\r\n":
            return True
        self._trailer_bytes += len(line)
        match = _TRAILER_LINE.fullmatch(line)
        if (
            match is None
            or match[1].lower() in _NOT_IN_TRAILERS
            or self._trailer_bytes > self._limits.head_bytes
        ):
            raise ChunkedError
        return False


def _take_line(buffer: bytearray, start: int) -> bytes | None:
    """Return the line at `start` with its LF, or None; refuse one that is too long."""
    end = buffer.find(b"\n", start, start + LINE_BYTES)
    if end >= 0:
        return bytes(buffer[start : end + 1])
    if len(buffer) - start >= LINE_BYTES:
        raise ChunkedError
    return None
