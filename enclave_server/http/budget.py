"""What the connections of one worker may take together, and what they have taken."""

import asyncio
import enum

from enclave_server.http.limits import Limits


class Admission(enum.Enum):
    """What becomes of a new connection."""

    ADMITTED = enum.auto()
    REFUSED = enum.auto()  # there are too many: it gets an orderly 503
    DROPPED = enum.auto()  # too many get one already


class Budget:
    """Octets, connections and requests of this moment, and counts since the start."""

    __slots__ = (
        "_limits",
        "abandoned",
        "accepted",
        "answered",
        "connections",
        "held",
        "refused",
        "refusing",
        "tasks",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.connections = 0  # those being refused included
        self.refusing = 0
        self.tasks: set[asyncio.Task[None]] = set()  # requests being answered, other than at once
        self.held = 0  # octets of requests that are kept
        self.accepted = 0
        self.refused = 0
        self.answered = 0
        self.abandoned = 0

    def admit(self) -> "Share":
        """Count a new connection; return its part of the budget."""
        limits = self._limits
        admission = Admission.ADMITTED
        if self.connections - self.refusing >= limits.connections:
            self.refused += 1
            self.refusing += 1
            too_many = self.refusing > limits.refusals
            admission = Admission.DROPPED if too_many else Admission.REFUSED
        self.accepted += 1
        self.connections += 1
        return Share(self, admission, limits)


class Share:
    """The part of a budget that one connection has taken."""

    __slots__ = ("_budget", "_held", "_limits", "admission")

    def __init__(self, budget: Budget, admission: Admission, limits: Limits) -> None:
        self._budget = budget
        self._limits = limits
        self._held = 0
        self.admission = admission

    def hold(self, octets: int) -> None:
        """Take so many octets in all for requests, instead of what was held before."""
        self._budget.held += octets - self._held
        self._held = octets

    def has_room(self, octets: int) -> bool:
        """Whether this connection may hold so many: its own share always, and all if it is alone.

        So a few long requests cannot shut out the short ones.
        """
        limits = self._limits
        others = self._budget.held - self._held
        fits = octets + others <= limits.buffered_bytes
        return fits or others == 0 or octets <= limits.buffered_bytes // limits.requests

    def has_turn(self) -> bool:
        """Whether one more request may be answered."""
        return len(self._budget.tasks) < self._limits.requests

    def give_back(self) -> None:
        """Count the end of the connection."""
        budget = self._budget
        self.hold(0)
        budget.connections -= 1
        budget.refusing -= self.admission is not Admission.ADMITTED
