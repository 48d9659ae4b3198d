"""Binary HTTP responses in pieces, written as they happen and read as they come (RFC 9292)."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from protocol import varint
from protocol.binary_http_fields import (
    Fields,
    Framing,
    Informational,
    check_final_status,
    check_headers,
    check_section_size,
    check_trailers,
    decode_line,
    decode_section,
    encode_fields,
)
from protocol.errors import IncompleteMessage, MalformedMessage

_END = b"\0"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The final status and its header section."""

    status: int
    headers: Fields = ()

    def __post_init__(self) -> None:
        check_final_status(self.status)
        check_headers(self.headers)


@dataclass(frozen=True, slots=True)
class Trailers:
    """A trailer section that is not empty."""

    fields: Fields

    def __post_init__(self) -> None:
        check_trailers(self.fields)


Event = Informational | ResponseHead | bytes | Trailers
"""What a response consists of, in order; bytes are content, in pieces of any size."""


class _Written(enum.Enum):
    NOTHING = enum.auto()
    INTERIM = enum.auto()
    HEAD = enum.auto()
    ALL = enum.auto()


class ResponseEncoder:
    """Writes one indeterminate-length response; calls out of order raise ValueError."""

    __slots__ = ("_written",)

    def __init__(self) -> None:
        self._written = _Written.NOTHING

    def informational(self, status: int, headers: Fields = ()) -> bytes:
        """Return an interim response."""
        interim = Informational(status, headers)
        return self._head(interim.status, interim.headers, _Written.INTERIM)

    def start(self, status: int, headers: Fields = ()) -> bytes:
        """Return the final status and its header section."""
        head = ResponseHead(status, headers)
        return self._head(head.status, head.headers, _Written.HEAD)

    def content(self, data: bytes) -> bytes:
        """Return `data` as one content chunk; nothing for nothing, which would mean the end."""
        self._require(_Written.HEAD)
        return varint.encode(len(data)) + data if data else b""

    def finish(self, trailers: Fields = ()) -> bytes:
        """Return the end of the content and the trailer section."""
        self._require(_Written.HEAD)
        check_trailers(trailers)
        self._written = _Written.ALL
        return _END + encode_fields(trailers) + _END

    def _head(self, status: int, headers: Fields, written: _Written) -> bytes:
        self._require(_Written.NOTHING, _Written.INTERIM)
        first = self._written is _Written.NOTHING
        self._written = written
        framing = varint.encode(Framing.INDETERMINATE_LENGTH_RESPONSE) if first else b""
        return framing + varint.encode(status) + encode_fields(headers) + _END

    def _require(self, *written: _Written) -> None:
        if self._written not in written:
            raise ValueError(f"out of order after {self._written.name}")


class _Awaited(enum.Enum):
    FRAMING = enum.auto()
    STATUS = enum.auto()
    HEADERS = enum.auto()
    LENGTH = enum.auto()  # of the content, or of a chunk of it
    CONTENT = enum.auto()
    TRAILERS = enum.auto()
    PADDING = enum.auto()
    FAILED = enum.auto()


class ResponseDecoder:
    """Reads one response of either form from pieces of any size; keeps no content."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0
        self._awaited = _Awaited.FRAMING
        self._known_length = False
        self._status = 0
        self._lines: list[tuple[bytes, bytes]] = []
        self._lines_size = 0
        self._content_seen = False
        self._events: list[Event] = []
        self._steps: dict[_Awaited, Callable[[], None]] = {
            _Awaited.FRAMING: self._read_framing,
            _Awaited.STATUS: self._read_status,
            _Awaited.HEADERS: self._read_headers,
            _Awaited.LENGTH: self._read_length,
            _Awaited.CONTENT: self._read_content,
            _Awaited.TRAILERS: self._read_trailers,
            _Awaited.PADDING: self._read_padding,
            _Awaited.FAILED: self._refuse,
        }

    def feed(self, data: bytes) -> list[Event]:
        """Return what `data` completes; MalformedMessage as soon as it cannot be a response."""
        self._buffer += data
        try:
            while self._offset < len(self._buffer):
                self._steps[self._awaited]()
        except IncompleteMessage:
            pass  # the rest of the element comes with the next piece
        except (MalformedMessage, ValueError):
            self._awaited = _Awaited.FAILED
            raise MalformedMessage("binary HTTP response") from None
        del self._buffer[: self._offset]
        self._offset = 0
        return self._take_events()

    def finish(self) -> list[Event]:
        """Return what the end completes; MalformedMessage when a response cannot end here."""
        # RFC 9292, Section 3.8: "Decoders MUST treat missing truncated fields as equivalent to
        # having been sent with the length field set to zero."
        if self._buffer or not self._may_end():
            raise MalformedMessage("binary HTTP response ends early")
        if self._awaited is _Awaited.HEADERS:
            self._end_headers(())
        self._awaited = _Awaited.FAILED
        return self._take_events()

    def _may_end(self) -> bool:
        if self._known_length:
            head_ended = self._awaited is _Awaited.HEADERS and self._status >= 200
            return head_ended or self._awaited in (
                _Awaited.LENGTH,
                _Awaited.TRAILERS,
                _Awaited.PADDING,
            )
        # Only what is empty may be missing: content that has begun needs its end, and so does
        # a trailer section.
        if self._awaited is _Awaited.LENGTH:
            return not self._content_seen
        return self._awaited is _Awaited.PADDING or (
            self._awaited is _Awaited.TRAILERS and not self._lines
        )

    def _read_framing(self) -> None:
        framing, self._offset = varint.decode(self._buffer, self._offset)
        if framing == Framing.KNOWN_LENGTH_RESPONSE:
            self._known_length = True
        elif framing != Framing.INDETERMINATE_LENGTH_RESPONSE:
            raise MalformedMessage("framing indicator")
        self._awaited = _Awaited.STATUS

    def _read_status(self) -> None:
        self._status, self._offset = varint.decode(self._buffer, self._offset)
        if not 100 <= self._status <= 599:
            raise MalformedMessage("status")
        self._awaited = _Awaited.HEADERS

    def _read_headers(self) -> None:
        fields = self._read_fields()
        if fields is not None:
            self._end_headers(fields)

    def _end_headers(self, fields: Fields) -> None:
        if self._status < 200:
            self._events.append(Informational(self._status, fields))
            self._awaited = _Awaited.STATUS
        else:
            self._events.append(ResponseHead(self._status, fields))
            self._awaited = _Awaited.LENGTH

    def _read_length(self) -> None:
        self._content_left, self._offset = varint.decode(self._buffer, self._offset)
        self._content_seen = self._content_seen or self._content_left > 0
        self._awaited = _Awaited.CONTENT if self._content_left else _Awaited.TRAILERS

    def _read_content(self) -> None:
        end = self._offset + self._content_left
        piece = bytes(self._buffer[self._offset : end])
        self._events.append(piece)
        self._offset += len(piece)
        self._content_left -= len(piece)
        if not self._content_left:
            self._awaited = _Awaited.TRAILERS if self._known_length else _Awaited.LENGTH

    def _read_trailers(self) -> None:
        fields = self._read_fields()
        if fields:
            self._events.append(Trailers(fields))
        if fields is not None:
            self._awaited = _Awaited.PADDING

    def _read_padding(self) -> None:
        # RFC 9292, Section 3.8: "Non-zero padding bytes cause a message to be invalid".
        if any(self._buffer[self._offset :]):
            raise MalformedMessage("padding")
        self._offset = len(self._buffer)

    def _refuse(self) -> None:
        raise MalformedMessage("data after the end")

    def _read_fields(self) -> Fields | None:
        """Return a section once it is complete; an indeterminate one is read line by line."""
        if self._known_length:
            fields, self._offset = decode_section(self._buffer, self._offset)
            return fields
        line, end = decode_line(self._buffer, self._offset)
        self._lines_size += end - self._offset
        self._offset = end
        if line is not None:
            self._lines.append(line)
            check_section_size(len(self._lines), self._lines_size)
            return None
        fields, self._lines, self._lines_size = tuple(self._lines), [], 0
        return fields

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events
