"""Whether the engine gets on with its work, asked over its own socket without waiting.

The engine's `/health` is answered by a thread of its own, also while nothing is thought of any
more. Its metrics are put together by the loop that does the thinking, between two steps: so they
come if, and only if, it turns.
"""

import contextlib
import socket

INTERVAL_SECONDS = 2.0
"""From an answer, or from an attempt without one, to the next question."""

# A look at the clock that comes later than this counts for no more: whoever looks may himself have
# been kept from it, and the engine with him.
LONGEST_LOOK_SECONDS = 1.0

_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 "


class Probe:
    """Asks the engine at a socket again and again; call `look` with the monotonic time.

    `silent_seconds` is for how long it has not answered, `answers` how often it has.
    """

    def __init__(self, socket_path: str, now: float) -> None:
        self._path = socket_path
        self._asked: socket.socket | None = None
        self._said = b""
        self._due = self._looked = now
        self.silent_seconds = 0.0
        self.answers = 0

    def look(self, now: float) -> None:
        """Take what has been answered, or ask if it is time."""
        self.silent_seconds += min(max(0.0, now - self._looked), LONGEST_LOOK_SECONDS)
        self._looked = now
        if self._asked is not None:
            self._read(self._asked, now)
        elif now >= self._due:
            self._ask(now)

    def close(self) -> None:
        """Stop asking."""
        if self._asked is not None:
            self._asked.close()
            self._asked = None

    def _ask(self, now: float) -> None:
        self._said = b""
        self._due = now + INTERVAL_SECONDS
        self._asked = socket.socket(socket.AF_UNIX)
        self._asked.setblocking(False)
        try:
            self._asked.connect(self._path)
            self._asked.send(_REQUEST)
        except OSError:  # also when too many wait for it already
            self.close()

    def _read(self, asked: socket.socket, now: float) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            try:
                data = asked.recv(len(_ANSWER) - len(self._said))
            except BlockingIOError:
                return
        self._said += data
        if data and len(self._said) < len(_ANSWER):
            return
        self.close()
        self._due = now + INTERVAL_SECONDS
        if self._said == _ANSWER:
            self.silent_seconds = 0.0
            self.answers += 1
