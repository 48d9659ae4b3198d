"""Server-sent events as they arrive (WHATWG HTML, Section 9.2.6)."""

from __future__ import annotations

import re

from oblivious_client.errors import AnswerUnreadable

# An event of a chat stream is a few hundred bytes; this bounds what a peer can make us keep.
EVENT_LIMIT = 16 * 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

DONE = b"[DONE]"
# What a stream ends with, be it complete or failed.
_ENDING = re.compile(rb'[\r\n]data: ?(?:\[DONE\]|\{"error":)')
_ENDING_REACH = len(b'\ndata: {"error":')


class EventReader:
    """Turns bytes into the data of events; comments, names and identifiers are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of every event that `data` completes."""
        buffer = self._rest + data
        if len(buffer) + sum(map(len, self._data)) > EVENT_LIMIT:
            raise AnswerUnreadable("an event of the stream is larger than any honest one")
        # A carriage return at the very end may be the first half of a line end.
        held = buffer[-1:] if buffer.endswith(b"\r") else b""
        *lines, rest = _LINE_END.split(buffer[: len(buffer) - len(held)])
        self._rest = rest + held
        return [event for line in lines for event in self._line(line)]

    def _line(self, line: bytes) -> list[bytes]:
        if not self._started:
            self._started = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            event, self._data = b"\n".join(self._data), []
            return [event] if event else []
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        return []


class EndKeeper:
    """Keeps the last event of a stream back until the end of the answer has verified.

    Programs take the sentinel, or an error, for the end and hang up: too early, they would show
    everybody on the way where the answer ends and its padding begins, and miss that it was cut.
    """

    def __init__(self) -> None:
        self._seen = b"\n"
        self._kept = b""

    def pass_on(self, content: bytes) -> bytes:
        """Return what may be read now."""
        if not self._kept:
            seen = self._seen + content
            # No chunk begins so; whatever a model says stands inside of one.
            if _ENDING.search(seen) is None:
                self._seen = seen[-_ENDING_REACH:]
                return content
        self._kept += content
        return b""

    def release(self) -> bytes:
        """Return what was kept."""
        kept, self._kept = self._kept, b""
        return kept


def encode(data: bytes) -> bytes:
    """Return one event that holds `data`."""
    return b"".join(b"data: " + line + b"\n" for line in data.split(b"\n")) + b"\n"
