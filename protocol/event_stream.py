"""Server-sent events, read as they arrive and written (WHATWG HTML, Section 9.2.6)."""

from typing import NamedTuple

from protocol.errors import MalformedMessage

MAX_EVENT_OCTETS = 4 * 1024 * 1024
"""What a peer can make a reader keep of an event that never ends, and of a line that never does."""

DONE = "[DONE]"
"""The data of the event with which chat streams end: no part of the grammar, but OpenAI's."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):  # a frozen dataclass costs 0.5 µs more for each of a stream's events
    """A dispatched event: its data, its type and the last event identifier."""

    data: str
    type: str = "message"
    last_event_id: str = ""


class EventTooLarge(MalformedMessage):
    """An event or a line has more octets than the reader keeps."""


class EventParser:
    """Turns the octets of an event stream, split anywhere, into events."""

    __slots__ = (
        "_after_return",
        "_at_start",
        "_data",
        "_last_event_id",
        "_limit",
        "_line",
        "_size",
        "_type",
    )

    def __init__(self, limit: int = MAX_EVENT_OCTETS) -> None:
        self._limit = limit
        self._line = bytearray()
        self._after_return = False
        self._at_start = True
        # Octets, not a list of texts: many short lines take no more memory than the limit says.
        self._data = bytearray()
        self._size = 0  # of the lines that hold it
        self._type = ""
        self._last_event_id = ""

    @property
    def kept(self) -> int:
        """The octets that it keeps of what is unfinished."""
        return len(self._line) + len(self._data)

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes, or raise EventTooLarge.

        What is unfinished when the stream ends is never dispatched.
        """
        events = []
        for line in self._lines(data):
            if line:
                self._take(line)
            elif self._data:
                events.append(self._dispatch())
            else:  # nothing is dispatched without data
                self._type = ""
        return events

    def _lines(self, data: bytes) -> list[bytes]:
        if self._after_return and data:
            data = data.removeprefix(b"\n")  # of a CRLF whose first half ended the line
            self._after_return = False
        if not data:
            return []
        self._after_return = data.endswith(b"\r")
        lines = data.splitlines()  # of octets: at CRLF, LF and CR, and nowhere else
        rest = b"" if data.endswith((b"\n", b"\r")) else lines.pop()
        if lines:
            lines[0] = self._first(lines[0])
        # It may begin with a mark, which does not count.
        allowed = self._limit + len(_BYTE_ORDER_MARK) * self._at_start
        if len(self._line) + len(rest) > allowed:
            raise EventTooLarge
        self._line += rest
        return lines

    def _first(self, end: bytes) -> bytes:
        """Return the line that `end` completes."""
        if self._line:
            end = bytes(self._line) + end
            self._line.clear()
        if self._at_start:
            self._at_start = False
            return end.removeprefix(_BYTE_ORDER_MARK)
        return end

    def _take(self, line: bytes) -> None:
        # Whole lines too, so that it does not depend on the split what is refused.
        if self._size + len(line) > self._limit:
            raise EventTooLarge
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data += value.removeprefix(b" ")
            self._data += b"\n"
            self._size += len(line)
        elif name == b"event":
            self._type = _text(value.removeprefix(b" "))
        elif name == b"id" and b"\0" not in value:
            self._last_event_id = _text(value.removeprefix(b" "))
        # A comment has an empty name; "retry" and unknown fields are ignored.

    def _dispatch(self) -> Event:
        del self._data[-1]  # every line of data put a line end behind itself
        event = Event(_text(self._data), self._type or "message", self._last_event_id)
        self._data.clear()
        self._size = 0
        self._type = ""
        return event


def encode_event(data: bytes) -> bytes:
    """Return one event that holds `data`; each line end in it reads back as a line feed."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


def _text(octets: bytes | bytearray) -> str:
    return octets.decode("utf-8", "replace")
