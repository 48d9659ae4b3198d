"""How an enclave begins: it joins a leader that it finds, or is the first of a cluster.

Whether there is a peer, and which, is the host's to say, by the holes that it opens. It can so
keep enclaves apart, as it can stop them, and gets no key by it. Of several that begin at once and
find no leader the one with the lowest nonce is the first; the others find it.
"""

import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from enclave_server.addresses import Address
from enclave_server.cluster.doors import Doors
from enclave_server.cluster.handshake import Joined
from enclave_server.cluster.identity import LOWEST, Identity
from enclave_server.cluster.seeking import Search
from protocol.cluster_join import NONCE_BYTES

LONELY_ROUNDS = 3
"""So often every peer has to have had nobody behind it, before an enclave is the first."""

TICK_SECONDS = 0.02

Waiting = Callable[[Sequence[socket.socket], float], bool]
"""Waits until one of these can be read or the time is over; False when nobody is to wait more."""


class NobodyLeads(Exception):
    """Others are there, and none of them leads, or answers."""


class Stopped(Exception):
    """The enclave was told to end while it looked for its place."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a search needs."""

    identity: Identity
    doors: Doors
    peers: Sequence[Address]
    seconds: float

    def find(
        self,
        waiting: Waiting,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> Joined | None:
        """Return the place in a cluster, None if this enclave is the first of one.

        Raises NobodyLeads when the time is over, and Stopped.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        search = Search(self.peers, self.identity, lambda leadership: True)
        deadline = clock() + self.seconds
        try:
            while (now := clock()) < deadline:
                joined = search.step(now, unix())
                if joined is not None:
                    return joined
                self.doors.step(now, unix(), None, nonce)
                if _is_first(search, nonce, self.identity.before_all):
                    return None
                if not waiting([*self.doors.sockets, *search.sockets], TICK_SECONDS):
                    raise Stopped
        finally:
            search.close()
        raise NobodyLeads


def _is_first(search: Search, nonce: bytes, before_all: bytes) -> bool:
    """Whether nobody leads; who says `before_all` of other measurements leads none like us."""
    if not search.has_asked(LONELY_ROUNDS) or search.has_silent or before_all in search.waiting:
        return False
    return all(nonce <= other for other in search.waiting if not other.startswith(LOWEST))
