"""Server-sent events, parsed incrementally (WHATWG HTML, Section 9.2.6)."""

import msgspec

# An upstream cannot make us keep more than this for one event that never ends.
MAX_EVENT_BYTES = 4 * 1024 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True):
    """A dispatched event: its data, its type and the last event identifier."""

    data: str
    type: str = "message"
    last_event_id: str = ""


class EventTooLarge(Exception):
    """An event has more than MAX_EVENT_BYTES octets."""


class EventParser:
    """Turns the bytes of an event stream, split anywhere, into events."""

    def __init__(self) -> None:
        self._partial = b""
        self._after_return = False
        self._at_start = True
        self._data: list[str] = []
        self._size = 0
        self._type = ""
        self._last_event_id = ""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes; raises EventTooLarge.

        What is unfinished when the stream ends is never dispatched.
        """
        events = [event for line in self._lines(data) if (event := self._line(line)) is not None]
        if self._size + len(self._partial) > MAX_EVENT_BYTES:
            raise EventTooLarge
        return events

    def _lines(self, data: bytes) -> list[bytes]:
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]  # the second half of a CRLF whose first half ended the line
            self._after_return = False
        if not data:
            return []
        self._after_return = data.endswith(b"\r")
        lines = data.splitlines()  # of octets: at CRLF, LF and CR, and nowhere else
        lines[0] = self._partial + lines[0]
        self._partial = b"" if data.endswith((b"\n", b"\r")) else lines.pop()
        if self._at_start and lines:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        return lines

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(line)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._last_event_id = value
        return None  # a comment has an empty name; "retry" and unknown fields are ignored

    def _dispatch(self) -> Event | None:
        data, kind = self._data, self._type
        self._data, self._type, self._size = [], "", 0
        if not data:
            return None
        return Event("\n".join(data), kind or "message", self._last_event_id)
