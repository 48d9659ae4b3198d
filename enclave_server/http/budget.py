"""What the connections of one worker may take together, and what they have taken."""

import asyncio
import enum

from enclave_server.http.limits import Limits
from enclave_server.memory import Holding, Memory


class Admission(enum.Enum):
    """What becomes of a new connection."""

    ADMITTED = enum.auto()
    REFUSED = enum.auto()  # there are too many: it gets an orderly 503
    DROPPED = enum.auto()  # too many get one already


class Budget:
    """Connections and requests of this moment, what they hold, and counts since the start.

    Without a memory that others use too it has one of its own.
    """

    __slots__ = (
        "_limits",
        "abandoned",
        "accepted",
        "answered",
        "connections",
        "memory",
        "refused",
        "refusing",
        "tasks",
    )

    def __init__(self, limits: Limits, memory: Memory | None = None) -> None:
        self._limits = limits
        self.memory = memory or Memory(limits.buffered_bytes, limits.requests)
        self.connections = 0  # those being refused included
        self.refusing = 0
        self.tasks: set[asyncio.Task[None]] = set()  # requests being answered, other than at once
        self.accepted = 0
        self.refused = 0
        self.answered = 0
        self.abandoned = 0

    @property
    def held(self) -> int:
        """Octets that are kept for peers."""
        return self.memory.held

    @property
    def is_full(self) -> bool:
        """Whether one more connection, or its request, would be refused."""
        limits = self._limits
        return (
            self.connections - self.refusing >= limits.connections
            or len(self.tasks) >= limits.requests
        )

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


class Share(Holding):
    """The part of a budget that one connection has taken."""

    __slots__ = ("_budget", "_limits", "admission")

    def __init__(self, budget: Budget, admission: Admission, limits: Limits) -> None:
        super().__init__(budget.memory)
        self._budget = budget
        self._limits = limits
        self.admission = admission

    def has_turn(self) -> bool:
        """Whether one more request may be answered."""
        return len(self._budget.tasks) < self._limits.requests

    def give_back(self) -> None:
        """Count the end of the connection."""
        budget = self._budget
        super().give_back()
        budget.connections -= 1
        budget.refusing -= self.admission is not Admission.ADMITTED
