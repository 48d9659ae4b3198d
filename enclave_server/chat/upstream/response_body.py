"""Bodies of responses and where they end (RFC 9112, Sections 6 and 7), without I/O."""

import re

from enclave_server.chat.upstream.response_head import TOKEN, VALUE, Head, ResponseError

# A size, its extensions and CRLF. No provider is known to send extensions.
LINE_BYTES = 256

# All trailer lines of a body; they are read and dropped.
MAX_TRAILER_BYTES = 16 * 1024

# Statuses whose responses have no body, whatever their fields say (RFC 9112, Section 6.3).
BODILESS = frozenset({204, 304})

_LENGTH = re.compile(rb"[0-9]{1,15}")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_EXTENSION = rb";[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?" % (TOKEN, TOKEN, _QUOTED)
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:%b)*+\r\n" % _EXTENSION)
_TRAILER_LINE = re.compile(rb"%b:%b\r\n" % (TOKEN, VALUE))


class Body:
    """What is fed and gives back the octets of one body.

    `is_whole` tells its end, `has_surplus` that something came after it, which spoils the
    connection: it answers no request. `is_broken` tells that what follows is malformed.
    """

    __slots__ = ("has_surplus", "is_broken", "is_whole")

    def __init__(self) -> None:
        self.is_whole = self.has_surplus = self.is_broken = False

    def feed(self, data: bytes) -> bytes:
        """Return the octets of the body that `data` completes; raises ResponseError."""
        raise NotImplementedError

    def end(self) -> None:
        """Take note that the connection has ended; raises ResponseError before the body's end."""
        if not self.is_whole:
            raise ResponseError


class Counted(Body):
    """A body of as many octets as Content-Length says."""

    __slots__ = ("_missing",)

    def __init__(self, size: int) -> None:
        super().__init__()
        self._missing = size
        self.is_whole = size == 0

    def feed(self, data: bytes) -> bytes:
        """Return what of `data` belongs to the body."""
        self.has_surplus = len(data) > self._missing
        data = data[: self._missing]
        self._missing -= len(data)
        self.is_whole = self._missing == 0
        return data


class UntilClose(Body):
    """A body that ends with its connection."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def end(self) -> None:
        """Take note that the connection has ended."""
        self.is_whole = True


class Chunked(Body):
    """A body in the chunked transfer coding (RFC 9112, Section 7.1); trailers are dropped."""

    __slots__ = ("_held", "_in_trailers", "_missing", "_trailer_bytes")

    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        self._missing = 0  # octets of the current chunk, with its CRLF, yet to come
        self._in_trailers = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Return the octets of the body that `data` completes; raises ResponseError.

        What came before an error is returned first, and `is_broken` tells of the error.
        """
        buffer = self._held + data
        pieces: list[bytes] = []
        start = 0
        try:
            while not self.is_whole and (end := self._step(buffer, start, pieces)) > start:
                start = end
        except ResponseError:
            self.is_broken = True
            if not pieces:
                raise
        self._held = buffer[start:]
        self.has_surplus = self.is_whole and start < len(buffer)
        return b"".join(pieces)

    def _step(self, buffer: bytes, start: int, pieces: list[bytes]) -> int:
        """Consume one line or one piece of data; return where it ends, `start` if nowhere yet."""
        if self._missing:
            return self._take_data(buffer, start, pieces)
        if self._in_trailers:
            return self._take_trailer(buffer, start)
        return self._take_size(buffer, start)

    def _take_size(self, buffer: bytes, start: int) -> int:
        match = _SIZE_LINE.match(buffer, start, start + LINE_BYTES)
        if match is None:
            return _await_line(buffer, start, LINE_BYTES)
        size = int(match[1], 16)
        self._in_trailers = size == 0
        self._missing = size + 2 if size else 0
        return match.end()

    def _take_data(self, buffer: bytes, start: int, pieces: list[bytes]) -> int:
        end = start + self._missing
        if piece := buffer[start : end - 2]:
            pieces.append(piece)
            self._missing -= len(piece)
            start += len(piece)
        if self._missing > 2 or len(buffer) < end:
            return start
        # The CRLF is taken as one, so that it is compared in one place.
        if buffer[start:end] != b"\r\n":
            raise ResponseError
        self._missing = 0
        return end

    def _take_trailer(self, buffer: bytes, start: int) -> int:
        self.is_whole = buffer.startswith(b"\r\n", start)
        if self.is_whole:
            return start + 2
        if buffer[start:] in (b"", b"\r"):
            return start
        left = MAX_TRAILER_BYTES - self._trailer_bytes
        match = _TRAILER_LINE.match(buffer, start, start + left)
        if match is None:
            return _await_line(buffer, start, left)
        self._trailer_bytes += match.end() - start
        return match.end()


def _await_line(buffer: bytes, start: int, limit: int) -> int:
    """Return `start` if a line may yet follow; refuse one that is whole and wrong, or too long."""
    if len(buffer) - start >= limit or b"\n" in buffer[start:]:
        raise ResponseError
    return start


def body_of(head: Head) -> Body:
    """Return the body that follows `head` (RFC 9112, Section 6.3); raises ResponseError."""
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if codings:
        return _coded(head, codings, lengths)
    # A list of equal lengths may be taken for one, and need not be.
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise ResponseError
    if head.status in BODILESS:
        return Counted(0)
    return Counted(int(lengths[0])) if lengths else UntilClose()


def _coded(head: Head, codings: list[bytes], lengths: list[bytes]) -> Body:
    # Both a coding and a length "ought to be handled as an error"; a coding in HTTP/1.0 is one.
    if lengths or head.minor_version == 0 or [c.lower() for c in codings] != [b"chunked"]:
        raise ResponseError
    return Counted(0) if head.status in BODILESS else Chunked()


def keeps_connection(head: Head) -> bool:
    """Whether the server keeps the connection after `head` and its body (Section 9.3)."""
    options = b",".join(head.values(b"connection")).lower()
    closes = b"close" in options and b"close" in map(bytes.strip, options.split(b","))
    return head.minor_version == 1 and not closes
