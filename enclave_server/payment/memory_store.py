"""Spent tokens in memory that all workers of one enclave share. A restart forgets them.

An entry has a time alone, which says its state: one of the ends of the epochs is that of a spent
token, any other the end of a hold. No two holds of a token end in the same second, since the later
one begins when the lease of the earlier is over: so the end of its lease is a hold's ticket, with
where it stands. As long as the lease lasts nobody else takes that place.
"""

import struct
import time
from collections.abc import Callable

from enclave_server.payment.lifetimes import Lifetimes
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.shared_table import TAG_SIZE, SharedTable, ceiling

_TICKET = struct.Struct(f"<IQ{TAG_SIZE}s")  # the end of its lease, slot, tag


class MemoryStore:
    """A store of `enclave_server.payment.store` in a shared table."""

    __slots__ = ("_clock", "_ends", "_last", "_lifetimes", "_table")

    def __init__(
        self, table: SharedTable, lifetimes: Lifetimes, clock: Callable[[], float] = time.time
    ) -> None:
        self._table, self._lifetimes, self._clock = table, lifetimes, clock
        self._ends = lifetimes.ends
        self._last = max(self._ends)

    async def hold(self, nullifier: bytes) -> bytes:
        """Hold a token that is free; return the ticket; raises Refused."""
        place = self._table.place(nullifier)
        with self._table as table:
            now = table.advance(self._clock())
            slot = table.find(place, now)
            if slot is not None:
                is_spent = table.until(slot) in self._ends
                raise Refused(Refusal.SPENT if is_spent else Refusal.IN_USE)
            if now > self._last:
                # A clock that was wrong has taken the table's time, which never goes back, beyond
                # all that it could keep: what is spent would be free at once.
                raise Refused(Refusal.UNAVAILABLE)
            until = self._held_until(now + self._lifetimes.lease)
            slot = table.add(place, until, now)
        if slot is None:
            raise Refused(Refusal.UNAVAILABLE)
        return _TICKET.pack(until, slot, place.tag)

    def commit(self, nullifier: bytes, ticket: bytes) -> None:
        """Spend what is held, whoever holds it by now."""
        held_until, slot, tag = _TICKET.unpack(ticket)
        with self._table as table:
            now = table.advance(self._clock())
            until = self._lifetimes.kept_until(now)
            if held_until >= now and table.has(tag, slot, held_until):
                table.put(slot, until)
            else:
                self._commit_late(nullifier, until, now)

    def give_back(self, nullifier: bytes, ticket: bytes, after: float = 0.0) -> None:
        """Free what is held under this ticket, or shorten its lease."""
        held_until, slot, tag = _TICKET.unpack(ticket)
        with self._table as table:
            now = table.advance(self._clock())
            if held_until >= now and table.has(tag, slot, held_until):
                table.put(slot, self._held_until(now + after) if after else 0)

    async def close(self) -> None:
        """Leave nothing: all is done at once."""

    def _commit_late(self, nullifier: bytes, until: int, now: float) -> None:
        """Spend what may be free, or held or spent elsewhere by now; the lock is held."""
        place = self._table.place(nullifier)
        slot = self._table.find(place, now)
        if slot is not None:
            self._table.put(slot, until)
        else:
            self._table.add(place, until, now)

    def _held_until(self, time: float) -> int:
        """Return `time` in whole seconds, or the next that says of no token that it is spent."""
        until = ceiling(time)
        while until in self._ends:
            until += 1
        return until
