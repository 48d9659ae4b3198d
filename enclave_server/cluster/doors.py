"""Where other enclaves knock: accepts connections, a few at a time, and takes each to its end."""

import socket
from collections.abc import Iterator

from enclave_server.cluster.handshake import Entrance, Follower, Refused
from enclave_server.cluster.identity import Identity
from enclave_server.cluster.stream import FrameStream
from enclave_server.gateway.token_bucket import TokenBucket
from enclave_server.log import Log
from protocol.cluster_join import Leadership

MAX_ENTRANCES = 8
"""Joins at a time; others wait in the kernel's queue."""

MAX_ACCEPTED = 64
"""In one turn: whoever knocks faster than that does not keep the supervisor from its workers."""

JOINS_PER_SECOND, JOINS_BURST = 5.0, 16.0
"""Each costs some 10 milliseconds of the security module and of the process that keeps the keys."""

REPORT_SECONDS = 10.0


class Doors:
    """A listening socket, and the joins that have begun there."""

    def __init__(self, listener: socket.socket, identity: Identity, log: Log, now: float) -> None:
        """Take over `listener`; `now` is of a monotonic clock, as in `step`."""
        self._listener = listener
        self._identity = identity
        self._log = log
        self._entrances: list[Entrance] = []
        self._bucket = TokenBucket(JOINS_PER_SECOND, JOINS_BURST, now)
        self._refused = 0
        self._report_at = now + REPORT_SECONDS

    @property
    def sockets(self) -> list[socket.socket]:
        """What to wait for."""
        open_ones = [each.stream.socket for each in self._entrances]
        return open_ones if len(open_ones) >= MAX_ENTRANCES else [self._listener, *open_ones]

    def step(
        self, now: float, unix: float, leads: Leadership | None, waits: bytes
    ) -> list[Follower]:
        """Return who has been admitted; without `leads` all are told to wait."""
        for stream in self._accept(now):
            self._entrances.append(Entrance(stream, self._identity, now))
        followers = []
        for entrance in list(self._entrances):
            try:
                follower = entrance.step(now, unix, leads, waits)
            except Refused as refusal:
                self._refused += refusal.reason != "wait"
                self._entrances.remove(entrance)
                entrance.close()
                continue
            if follower is not None:
                self._entrances.remove(entrance)
                followers.append(follower)
        self._report(now)
        return followers

    def close(self) -> None:
        """Accept nobody any more."""
        for entrance in self._entrances:
            entrance.close()
        self._entrances.clear()
        self._listener.close()

    def _accept(self, now: float) -> Iterator[FrameStream]:
        for _ in range(MAX_ACCEPTED):
            if len(self._entrances) >= MAX_ENTRANCES:
                return
            try:
                connection = self._listener.accept()[0]
            except OSError:  # nobody is there, or is gone already; or there is no descriptor for it
                return
            if self._bucket.take(now):
                yield FrameStream(connection)
            else:
                self._refused += 1
                connection.close()

    def _report(self, now: float) -> None:
        if now >= self._report_at:
            self._report_at = now + REPORT_SECONDS
            if self._refused:
                self._log.event("joins_refused", count=self._refused)
            self._refused = 0
