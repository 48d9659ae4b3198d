"""One question over a connection of its own, and all that comes back until the peer closes."""

import socket
from collections.abc import Callable
from select import EPOLLIN
from typing import Final

from host_proxy.addresses import Address
from host_proxy.dialing import Dial, Failure, Patience
from host_proxy.loop import Loop
from host_proxy.resolver import Resolver

READ_BYTES: Final = 1 << 16  # of one look at the connection


class Question:
    """A question under way; exactly one call to `done`, with the answer or None for a miss.

    A miss is no connection, a reset, or no end in time. An answer of `limit` bytes or more was not
    read to its end. The question has to fit into a socket's buffer.
    """

    __slots__ = ("_answer", "_dial", "_done", "_limit", "_loop", "_request", "_sock", "_timer")

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        address: Address,
        request: bytes,
        *,
        limit: int,
        seconds: float,
        done: Callable[[bytes | None], None],
    ) -> None:
        self._loop = loop
        self._request = request
        self._limit = limit
        self._done: Callable[[bytes | None], None] | None = done
        self._sock: socket.socket | None = None
        self._answer = b""
        self._timer = loop.later(seconds, self._end)  # for the connection and the answer together
        patience = Patience(connect=seconds, retry=0)
        self._dial = Dial(loop, resolver, address, patience, self._connected, _ignore)

    def start(self) -> None:
        """Ask; `done` may be called at once."""
        self._dial.start()

    def ready(self, events: int) -> None:
        """Read until the peer closes, as it was asked to."""
        if self._sock is None:
            return
        try:
            data = self._sock.recv(min(self._limit, READ_BYTES))
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        self._answer += data
        if not data or len(self._answer) >= self._limit:
            self._end(self._answer)

    def _connected(self, sock: socket.socket | None) -> None:
        if sock is None:
            self._end()
            return
        self._sock = sock
        self._loop.watch(sock.fileno(), EPOLLIN, self)
        try:
            sock.send(self._request)
        except OSError:
            self._end()

    def _end(self, answer: bytes | None = None) -> None:
        self._timer.cancel()
        self._dial.cancel()
        if self._sock is not None:
            self._loop.close(self._sock)
            self._sock = None
        done, self._done = self._done, None
        if done is not None:
            done(answer)


def _ignore(failure: Failure) -> None:
    """Leave the reason aside: not to be reached is a miss, whatever the reason."""
