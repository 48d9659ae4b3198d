"""One question whether the upstream lives: `GET /health` over a connection of its own."""

import re
import socket
import time
from collections.abc import Callable
from enum import Enum
from select import EPOLLIN
from typing import Final

from host_proxy.addresses import Address
from host_proxy.dialing import Dial, Failure, Patience
from host_proxy.loop import Loop
from host_proxy.resolver import Resolver

REQUEST: Final = b"GET /health HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n"
ANSWER_BYTES: Final = 4096  # a status line, a few fields and a word or two
STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")  # RFC 9112, Section 4


class Outcome(Enum):
    """What came of a question; the word in counters."""

    HEALTHY = "healthy"  # status 200
    UNHEALTHY = "unhealthy"  # another status, or closed in order: it lives and has too much to do
    MISSED = "missed"  # no connection, nothing in time, or nothing that is HTTP


class Probe:
    """A question under way; exactly one call to `done`, with the outcome and the seconds."""

    __slots__ = ("_answer", "_begun", "_dial", "_done", "_loop", "_sock", "_timer")

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        address: Address,
        seconds: float,
        done: Callable[[Outcome, float], None],
    ) -> None:
        self._loop = loop
        self._done = done
        self._sock: socket.socket | None = None
        self._answer = b""
        self._begun = time.monotonic()
        self._timer = loop.later(seconds, self._end)  # for the connection and the answer together
        patience = Patience(connect=seconds, retry=0)
        self._dial = Dial(loop, resolver, address, patience, self._connected, _ignore)

    def start(self) -> None:
        """Ask; `done` may be called at once."""
        self._dial.start()

    def ready(self, events: int) -> None:
        """Read until the upstream closes, as it was asked to."""
        if self._sock is None:
            return
        try:
            data = self._sock.recv(ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        self._answer += data
        if not data or len(self._answer) >= ANSWER_BYTES:
            self._end(judge(self._answer))

    def _connected(self, sock: socket.socket | None) -> None:
        if sock is None:
            self._end()
            return
        self._sock = sock
        self._loop.watch(sock.fileno(), EPOLLIN, self)
        try:
            sock.send(REQUEST)  # fits any socket's buffer
        except OSError:
            self._end()

    def _end(self, outcome: Outcome = Outcome.MISSED) -> None:
        self._timer.cancel()
        self._dial.cancel()
        if self._sock is not None:
            self._loop.close(self._sock)
            self._sock = None
        self._done(outcome, time.monotonic() - self._begun)


def judge(answer: bytes) -> Outcome:
    """Return what an answer, from its first byte to its end, tells of whoever gave it.

    None at all is how the server turns away what exceeds even its refusals: a flood must not have
    it taken for dead.
    """
    if not answer:
        return Outcome.UNHEALTHY
    status = STATUS_LINE.match(answer)
    if status is None:
        return Outcome.MISSED
    return Outcome.HEALTHY if status[1] == b"200" else Outcome.UNHEALTHY


def _ignore(failure: Failure) -> None:
    """Leave the reason aside: not to be reached is a miss, whatever the reason."""
