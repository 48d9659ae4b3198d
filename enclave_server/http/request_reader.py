"""Requests on the wire (RFC 9112), without I/O: octets in, heads and whole bodies out."""

from http import HTTPStatus

from enclave_server.http.limits import Limits
from enclave_server.http.request_head import FORBIDDEN, Head, Refused, parse_head
from enclave_server.http.transfer_coding import BodyTooLong, ChunkedDecoder, ChunkedError


class RequestReader:
    """Bytes in, heads and whole bodies out, in order; pipelined requests wait their turn."""

    __slots__ = ("_buffer", "_decoder", "_length", "_limits", "_line_skipped", "_searched")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0  # no end of head lies before this
        self._line_skipped = False
        self._length: int | None = None  # of the body that is being read
        self._decoder: ChunkedDecoder | None = None

    @property
    def held(self) -> int:
        """How many octets are kept here."""
        return len(self._buffer) + (len(self._decoder) if self._decoder is not None else 0)

    @property
    def between_requests(self) -> bool:
        """Whether nothing of a next request has arrived."""
        return not self._buffer and self._length is None and self._decoder is None

    def feed(self, data: bytes | memoryview) -> None:
        """Take what has arrived."""
        self._buffer += data

    def next_event(self) -> Head | bytes | None:
        """Return the next head or, after it, its whole body; None if more is needed.

        Raises Refused, after which the reader must not be used.
        """
        if self._length is not None:
            return self._read_counted(self._length)
        if self._decoder is not None:
            return self._read_chunks(self._decoder)
        return self._read_head()

    def _read_head(self) -> Head | None:
        buffer = self._buffer
        if not buffer:
            return None
        # RFC 9112, Section 2.2: one empty line before the request line SHOULD be ignored.
        if not self._line_skipped and buffer.startswith(b"\r\n"):
            del buffer[:2]  # of which nothing was searched but a first half
            self._line_skipped = True
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3), self._limits.head_bytes)
        if end < 0:
            self._check_partial_head()
            return None
        data = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._searched = 0
        self._line_skipped = False
        head = parse_head(data, self._limits)
        if head.length is None:
            self._decoder = ChunkedDecoder(self._limits)
        self._length = head.length
        return head

    def _check_partial_head(self) -> None:
        """Refuse early what cannot become a head, so that nobody waits for a time-out."""
        buffer = self._buffer
        if len(buffer) >= self._limits.head_bytes:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if FORBIDDEN.search(buffer, max(0, self._searched - 2)):
            raise Refused(HTTPStatus.BAD_REQUEST)
        self._searched = len(buffer)

    def _read_counted(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        body = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        self._length = None
        return body

    def _read_chunks(self, decoder: ChunkedDecoder) -> bytes | None:
        try:
            body = decoder.decode(self._buffer)
        except BodyTooLong:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE) from None
        except ChunkedError:
            raise Refused(HTTPStatus.BAD_REQUEST) from None
        if body is not None:
            self._decoder = None
        return body
