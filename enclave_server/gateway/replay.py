"""The memory of requests already answered, shared by all workers (RFC 9458, Section 6.5).

An encapsulated key (`enc`) is remembered until its request would be too old. An entry that was
given up because its time had passed belongs to a request that stays too old.
"""

import enum
import secrets
from collections.abc import Callable

from enclave_server.shared_table import SharedTable


class Verdict(enum.Enum):
    """What the filter found about a request."""

    NEW = enum.auto()
    REPEATED = enum.auto()
    EXPIRED = enum.auto()
    FULL = enum.auto()


class ReplayFilter:
    """Remembers each `enc` until a given time; one object, inherited by every forked worker."""

    __slots__ = ("_table",)

    def __init__(self, capacity: int, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._table = SharedTable("replay", capacity, random)

    @property
    def size(self) -> int:
        """The bytes of memory that the table takes when it is in full use."""
        return self._table.size

    def close(self) -> None:
        """Give the memory back; for whoever makes many."""
        self._table.close()

    def time(self, now: float) -> float:
        """Return the table's time: the latest `now` that any process has passed in."""
        with self._table as table:
            return table.advance(now)

    def insert(self, enc: bytes, until: float, now: float) -> Verdict:
        """Remember `enc` until `until` (Unix seconds); only `NEW` lets the request through."""
        place = self._table.place(enc)
        with self._table as table:
            now = table.advance(now)
            if until < now:
                return Verdict.EXPIRED
            if table.find(place, now) is not None:
                return Verdict.REPEATED
            return Verdict.FULL if table.add(place, until, now) is None else Verdict.NEW
