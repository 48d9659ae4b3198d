"""Looking up names in threads of its own, since the C library's look-up cannot be cut short."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from host_proxy.loop import Loop

THREADS: Final = 4
WAITING: Final = 256  # look-ups that may wait for a thread; beyond them they fail at once

SocketAddress = tuple[Any, ...] | str
Candidate = tuple[int, SocketAddress]  # address family, what connect() takes
GetAddrInfo = Callable[..., list[tuple[Any, Any, int, str, tuple[Any, ...]]]]


@dataclass(slots=True)
class Lookup:
    """One look-up; `answer` gets the candidates, an empty list if the name has none."""

    host: str
    port: int
    answer: Callable[[list[Candidate]], None]
    wanted: bool = field(default=True)

    def cancel(self) -> None:
        """Make `answer` not be called; the thread may go on for a while."""
        self.wanted = False


class Resolver:
    """A few daemon threads, started with the first look-up."""

    __slots__ = ("_getaddrinfo", "_loop", "_queue", "_started")

    def __init__(self, loop: Loop, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> None:
        self._loop = loop
        self._getaddrinfo = getaddrinfo
        self._queue: SimpleQueue[Lookup] = SimpleQueue()
        self._started = False

    def look_up(
        self, host: str, port: int, answer: Callable[[list[Candidate]], None]
    ) -> Lookup | None:
        """Begin a look-up and return it; None if too many are waiting already."""
        if self._queue.qsize() >= WAITING:
            return None
        self._start()
        lookup = Lookup(host, port, answer)
        self._queue.put(lookup)
        return lookup

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        for number in range(THREADS):
            Thread(target=self._serve, name=f"resolver-{number}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            lookup = self._queue.get()
            if lookup.wanted:
                self._answer(lookup, self._candidates(lookup.host, lookup.port))

    def _candidates(self, host: str, port: int) -> list[Candidate]:
        try:
            found = self._getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # UnicodeError: a label that IDNA refuses
            return []
        return interleaved([(family, sockaddr) for family, _, _, _, sockaddr in found])

    def _answer(self, lookup: Lookup, candidates: list[Candidate]) -> None:
        def deliver() -> None:
            if lookup.wanted:
                lookup.answer(candidates)

        self._loop.post(deliver)


def interleaved(candidates: list[Candidate]) -> list[Candidate]:
    """Alternate the address families, the preferred one first (RFC 8305, Section 4)."""
    if not candidates:
        return []
    first = [c for c in candidates if c[0] == candidates[0][0]]
    other = [c for c in candidates if c[0] != candidates[0][0]]
    ordered: list[Candidate] = []
    while first or other:
        ordered += first[:1] + other[:1]
        first, other = first[1:], other[1:]
    return ordered
