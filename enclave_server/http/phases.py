"""Phases of a connection: which may follow which, and for how long each may last."""

import enum
from collections.abc import Callable, Mapping

from enclave_server.http.limits import Limits


class Phase(enum.IntEnum):  # an integer is hashed in C: each request looks into the table twice
    """Where a connection is; each phase has its own deadline."""

    IDLE = enum.auto()  # nothing of a request has arrived
    HEAD = enum.auto()  # some of a head has
    BODY = enum.auto()  # the head has, and not yet the whole body
    ANSWERING = enum.auto()  # the handler runs, or its answer is being written
    LINGERING = enum.auto()  # nothing more will be written; what arrives is discarded
    CLOSED = enum.auto()  # the connection is gone


# An empty line ends HEAD without a request; what a peer has sent ahead follows an answer at once.
FOLLOWING: Mapping[Phase, frozenset[Phase]] = {
    Phase.IDLE: frozenset(Phase) - {Phase.IDLE},
    Phase.HEAD: frozenset(Phase) - {Phase.HEAD},
    Phase.BODY: frozenset({Phase.ANSWERING, Phase.LINGERING, Phase.CLOSED}),
    Phase.ANSWERING: frozenset(Phase),
    Phase.LINGERING: frozenset({Phase.CLOSED}),
    Phase.CLOSED: frozenset(),
}


class Due(enum.Enum):
    """What is to be done with a connection whose deadline has passed."""

    CLOSE = enum.auto()  # nothing was asked, so nothing is answered
    REFUSE = enum.auto()  # the request comes too slowly
    ABORT = enum.auto()  # the peer does not read what was written, or does not close after it


class Progress:
    """The phase of one connection, and what has come of it."""

    __slots__ = ("_clock", "_limits", "_unsent", "phase", "received", "since")

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """Begin in IDLE; `clock` returns seconds."""
        self._limits = limits
        self._clock = clock
        self._unsent = 0  # octets of answers not taken by the peer, when last looked at
        self.phase = Phase.IDLE
        self.since = clock()  # when the phase began, or progress was last seen in it
        self.received = 0  # octets since the head, or since lingering began

    def enter(self, phase: Phase) -> None:
        """Go on to another phase, or to the next request's of the same name."""
        if phase not in FOLLOWING[self.phase]:
            raise RuntimeError(f"{phase.name} cannot follow {self.phase.name}")
        self.phase = phase
        self.since = self._clock()

    def overdue(self, now: float, unsent: int) -> Due | None:
        """Return what is due, while so many octets wait for the peer to read them."""
        if self.phase >= Phase.ANSWERING:
            return Due.ABORT if self._stands_still(now, unsent) else None
        if now - self.since <= self._allowed_seconds():
            return None
        return Due.CLOSE if self.phase is Phase.IDLE else Due.REFUSE

    def _allowed_seconds(self) -> float:
        limits = self._limits
        if self.phase is Phase.IDLE:
            return limits.idle_seconds
        if self.phase is Phase.HEAD:
            return limits.head_seconds
        return limits.body_grace_seconds + self.received / limits.body_bytes_per_second

    def _stands_still(self, now: float, unsent: int) -> bool:
        """Whether a peer has read nothing of its answer, or not closed after it, for too long."""
        waiting_for_handler = self.phase is Phase.ANSWERING and not unsent
        if waiting_for_handler or unsent != self._unsent:
            self._unsent = unsent
            self.since = now
            return False
        limits = self._limits
        return now - self.since > (limits.stall_seconds if unsent else limits.linger_seconds)
