"""Spent tokens in memory that all workers of one enclave share. A restart forgets them.

An entry has a time alone, which says its state: one of the ends of the epochs is that of a spent
token, any other the end of a hold. No two holds of a token end in the same second, since the later
one begins when the lease of the earlier is over: so the end of its lease is a hold's ticket.
"""

import struct
import time
from collections.abc import Callable

from enclave_server.payment.lifetimes import Lifetimes
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.shared_table import SharedTable, ceiling

_TICKET = struct.Struct("<I")


class MemoryStore:
    """A store of `enclave_server.payment.store` in a shared table."""

    __slots__ = ("_clock", "_ends", "_lifetimes", "_table")

    def __init__(
        self, table: SharedTable, lifetimes: Lifetimes, clock: Callable[[], float] = time.time
    ) -> None:
        self._table, self._lifetimes, self._clock = table, lifetimes, clock
        self._ends = lifetimes.ends

    async def hold(self, nullifier: bytes) -> bytes:
        """Hold a token that is free; return the ticket; raises Refused."""
        place = self._table.place(nullifier)
        with self._table as table:
            now = table.advance(self._clock())
            slot = table.find(place, now)
            if slot is not None:
                is_spent = table.until(slot) in self._ends
                raise Refused(Refusal.SPENT if is_spent else Refusal.IN_USE)
            if now > max(self._ends):
                # A clock that was wrong has taken the table's time, which never goes back, beyond
                # all that it could keep: what is spent would be free at once.
                raise Refused(Refusal.UNAVAILABLE)
            until = self._held_until(now + self._lifetimes.lease)
            if not table.add(place, until, now):
                raise Refused(Refusal.UNAVAILABLE)
        return _TICKET.pack(until)

    def commit(self, nullifier: bytes, ticket: bytes) -> None:
        """Spend what is held, whoever holds it by now."""
        place = self._table.place(nullifier)
        with self._table as table:
            now = table.advance(self._clock())
            until = self._lifetimes.kept_until(now)
            slot = table.find(place, now)
            if slot is not None:
                table.put(slot, until)
            else:  # the lease is over, and the slot may be another's
                table.add(place, until, now)

    def give_back(self, nullifier: bytes, ticket: bytes, after: float = 0.0) -> None:
        """Free what is held under this ticket, or shorten its lease."""
        place = self._table.place(nullifier)
        (held_until,) = _TICKET.unpack(ticket)
        with self._table as table:
            now = table.advance(self._clock())
            slot = table.find(place, now)
            if slot is not None and table.until(slot) == held_until:
                table.put(slot, self._held_until(now + after) if after else 0)

    async def close(self) -> None:
        """Leave nothing: all is done at once."""

    def _held_until(self, time: float) -> int:
        """Return `time` in whole seconds, or the next that says of no token that it is spent."""
        until = ceiling(time)
        while until in self._ends:
            until += 1
        return until
