"""Looking up names in threads, since the C library's look-up cannot be cut short.

Each name is looked up by itself: one thread asks for it, however many wait for the answer, and a
name whose server is silent holds no other name up. What was found is used at once, and looked up
again beside it, so that a name server may be away for a minute before anybody notices.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from threading import Thread
from typing import Any, Final

from host_proxy.loop import Loop

THREADS: Final = 32  # look-ups under way: as many names can be silent before others suffer
WAITING: Final = 256  # connections that may wait for one name; beyond them they fail at once
FRESH_SECONDS: Final = 5.0  # use what was found without asking again
KEPT_SECONDS: Final = 60.0  # use what was found while asking again is in vain

SocketAddress = tuple[Any, ...] | str
Candidate = tuple[int, SocketAddress]  # address family, what connect() takes
GetAddrInfo = Callable[..., list[tuple[Any, Any, int, str, tuple[Any, ...]]]]
Answer = Callable[[list[Candidate]], None]


@dataclass(slots=True)
class Name:
    """What is known of one host and port, and who waits to know."""

    asking: bool = False
    waiting: list["Lookup"] = field(default_factory=list)
    known: list[Candidate] = field(default_factory=list)
    found: float = -inf  # when, in monotonic seconds


@dataclass(slots=True, eq=False)
class Lookup:
    """One wait for a name; `answer` gets the candidates, an empty list if the name has none."""

    name: Name
    answer: Answer

    def cancel(self) -> None:
        """Make `answer` not be called; the thread may go on for a while."""
        if self in self.name.waiting:
            self.name.waiting.remove(self)


class Resolver:
    """Look-ups, one thread for each name while it is looked up."""

    __slots__ = ("_clock", "_getaddrinfo", "_loop", "_names", "_threads")

    def __init__(
        self,
        loop: Loop,
        getaddrinfo: GetAddrInfo = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._getaddrinfo = getaddrinfo
        self._clock = clock
        self._names: dict[tuple[str, int], Name] = {}  # as many as there are ways out
        self._threads = 0

    def recall(self, host: str, port: int) -> list[Candidate]:
        """Return what was found within the last minute, asking again unless it was just now."""
        name = self._names.get((host, port))
        if name is None:
            return []
        age = self._clock() - name.found
        if age > KEPT_SECONDS:
            return []
        if age >= FRESH_SECONDS and not name.asking:
            self._ask(host, port, name)
        return name.known

    def forget(self, host: str, port: int) -> None:
        """Use what was found no more, since it leads nowhere."""
        name = self._names.get((host, port))
        if name is not None:
            name.found = -inf

    def look_up(self, host: str, port: int, answer: Answer) -> Lookup | None:
        """Begin a look-up or join one under way, and return it; None if it cannot be."""
        name = self._names.setdefault((host, port), Name())
        if len(name.waiting) >= WAITING:
            return None
        if not name.asking and not self._ask(host, port, name):
            return None
        lookup = Lookup(name, answer)
        name.waiting.append(lookup)
        return lookup

    def _ask(self, host: str, port: int, name: Name) -> bool:
        """Start a thread that looks a name up; False if there is none to be had."""
        if self._threads >= THREADS:
            return False

        def serve() -> None:
            candidates = self._candidates(host, port)
            self._loop.post(lambda: self._answered(name, candidates))

        try:
            Thread(target=serve, name=f"look-up of {host}", daemon=True).start()
        except RuntimeError:  # the system has no more threads for us
            return False
        self._threads += 1
        name.asking = True
        return True

    def _candidates(self, host: str, port: int) -> list[Candidate]:
        try:
            found = self._getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # UnicodeError: a label that IDNA refuses
            return []
        return interleaved([(family, sockaddr) for family, _, _, _, sockaddr in found])

    def _answered(self, name: Name, candidates: list[Candidate]) -> None:
        self._threads -= 1
        name.asking = False
        if candidates:
            name.known, name.found = candidates, self._clock()
        waiting, name.waiting = name.waiting, []
        for lookup in waiting:
            lookup.answer(candidates)


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
