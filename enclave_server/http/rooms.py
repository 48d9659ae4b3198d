"""Which workers have room for a connection, in memory that they share.

A worker says so again and again, for a moment each time: of one that has ended, or hangs, nobody
thinks for longer than that that it would take anybody.
"""

import mmap
import time

VALID_SECONDS = 1.0
"""For so long a worker's word holds."""

_OCTETS = 8  # of a double; an aligned one is never half written


class Rooms:
    """A moment for each worker until which it has room; make it before workers are forked."""

    __slots__ = ("_moments",)

    def __init__(self, workers: int) -> None:
        self._moments = memoryview(mmap.mmap(-1, workers * _OCTETS)).cast("d")

    def of(self, number: int) -> "Room":
        """Return what the worker of that number knows and tells."""
        return Room(self._moments, number)


class Room:
    """What one worker tells its siblings, and knows of them."""

    __slots__ = ("_moments", "_number")

    def __init__(self, moments: "memoryview[float]", number: int) -> None:
        self._moments = moments
        self._number = number

    @property
    def is_alone(self) -> bool:
        """Whether there are no siblings."""
        return len(self._moments) == 1

    def tell(self, has_room: bool) -> None:
        """Let the siblings know whether there is room here."""
        self._moments[self._number] = time.monotonic() + VALID_SECONDS if has_room else 0.0

    def is_elsewhere(self) -> bool:
        """Whether a sibling has room."""
        now = time.monotonic()
        return any(
            moment > now for number, moment in enumerate(self._moments) if number != self._number
        )


def alone() -> Room:
    """Return what a worker knows that has no siblings."""
    return Rooms(1).of(0)
