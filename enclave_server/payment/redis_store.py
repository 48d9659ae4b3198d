"""Spent tokens in Redis on the host, which is not trusted: it can deny, and forget, and no more.

Three commands are sent, and nothing else:

    SET k h‖owner NX GET EX lease       to hold
    SET k s‖owner EXAT t                to commit, later, together with others
    EVAL <script> 1 k h‖owner           to give back what nobody else holds by now, with commits

`k` is a nullifier, which looks random and comes again only with a token that came back or was
refused; `owner` are 16 random octets of one hold; `t` is the same for all tokens of a time. So all
that the host sees of a paid request has one length, and it learns how many there are, when they
begin, and within a flush that an upstream failed; not how it failed, nor when.

Whoever asks again with a token that has just come back gets it without the store, in the worker
that has it: it is still held there. Of one hold there is one end.

A reply that was lost leaves open whether the token is held. It is asked for once more, as the same
owner; after that the client is told that the store is unavailable, and the token is given back as
soon as the store answers.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Sequence

from enclave_server.addresses import Address
from enclave_server.payment.connection import Connection
from enclave_server.payment.lifetimes import Lifetimes
from enclave_server.payment.nullifier import BYTES
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.payment.resp import (
    HELD,
    OWNER_BYTES,
    SPENT,
    Kind,
    MalformedReply,
    Reply,
    encode,
)
from enclave_server.payment.settling import Settlements

ATTEMPTS = 2
ATTEMPT_SECONDS = 0.9
"""For each, connecting included: together less than the two seconds that a client is promised."""

AGAIN_SECONDS = 20.0
"""After a hold, within which it may be taken up again: what is left of its lease is more than the
longest answer, a flush, and the time in which the store may take it (`LEASE_MARGIN_SECONDS`)."""

SETTLE_SECONDS = 5.0
"""For a batch of what ends holds: nobody waits for it."""

SCRIPT = b"if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0"

_ONE = (Kind.PREVIOUS,)
_FAILURES = (OSError, MalformedReply)  # TimeoutError is an OSError


_KEY, _VALUE = b"k" * BYTES, b"v" * (1 + OWNER_BYTES)
_Pieces = tuple[bytes, bytes, bytes]


class RedisStore:
    """A store of `enclave_server.payment.store` in a server that speaks RESP."""

    def __init__(
        self,
        address: Address,
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._lifetimes, self._clock, self._random = lifetimes, clock, random
        self._hold = _around_key_and_value(lifetimes.lease)
        self._kept_until, self._spend = 0, _setting(b"EXAT", b"0")
        # Of their own: a hold does not wait for a flush.
        self._holding, self._settling = Connection(address), Connection(address)
        self._settlements = Settlements(self._settle, _FAILURES)
        self._again_until: dict[bytes, float] = {}  # by the tickets of holds that last

    async def hold(self, nullifier: bytes) -> bytes:
        """Hold a token that is free; return the ticket; raises Refused."""
        taken = self._settlements.take_up(nullifier)
        if taken is not None:
            self._again_until[taken.ticket] = taken.again_until
            return taken.ticket
        owner = self._random(OWNER_BYTES)
        again_until = asyncio.get_running_loop().time() + AGAIN_SECONDS
        try:
            previous = await self._ask(nullifier, HELD + owner)
        except BaseException:
            self._settlements.undo(nullifier, _freeing(nullifier, owner))
            raise
        if previous is None or previous == HELD + owner:
            self._again_until[owner] = again_until
            return owner
        raise Refused(Refusal.SPENT if previous.startswith(SPENT) else Refusal.IN_USE)

    def commit(self, nullifier: bytes, ticket: bytes) -> None:
        """Spend what is held, with the next flush."""
        self._again_until.pop(ticket, None)
        until = self._lifetimes.kept_until(self._clock())
        if until != self._kept_until:  # as it is from one epoch to the next
            self._kept_until = until
            self._spend = _setting(b"EXAT", b"%d" % until)
        before, between, after = self._spend
        command = b"".join((before, nullifier, between, SPENT, ticket, after))
        self._settlements.commit(nullifier, command)

    def give_back(self, nullifier: bytes, ticket: bytes, after: float = 0.0) -> None:
        """Free what is held under this ticket, with the next flush, whatever `after` says.

        So it is free once a flush at most, and no return tells why. Whom `after` makes wait does
        not have it before.
        """
        again_until = self._again_until.pop(ticket, -math.inf)
        self._settlements.give_back(
            nullifier,
            _freeing(nullifier, ticket),
            ticket,
            -math.inf if after else again_until,
        )

    async def close(self) -> None:
        """Settle all that is left, and close."""
        await self._settlements.close()
        self._holding.close()
        self._settling.close()

    async def _ask(self, nullifier: bytes, value: bytes) -> bytes | None:
        """Set the key unless it has a value, and return that; raises Refused."""
        before, between, after = self._hold
        command = before + nullifier + between + value + after
        for _ in range(ATTEMPTS):
            try:
                replies = await self._holding.exchange(command, _ONE, ATTEMPT_SECONDS)
            except _FAILURES:
                continue
            return replies[0].value
        raise Refused(Refusal.UNAVAILABLE)

    async def _settle(self, commands: bytes, kinds: Sequence[Kind]) -> list[Reply]:
        return await self._settling.exchange(commands, kinds, SETTLE_SECONDS)


def _freeing(nullifier: bytes, owner: bytes) -> bytes:
    """Return the command that frees what is held by this owner."""
    return encode(b"EVAL", SCRIPT, b"1", nullifier, HELD + owner)


def _around_key_and_value(lease: int) -> _Pieces:
    """Return the command that holds, but for its key and value, whose sizes never differ."""
    return _setting(b"NX", b"GET", b"EX", b"%d" % lease)


def _setting(*options: bytes) -> _Pieces:
    """Return the command that sets a value, but for that and its key."""
    command = encode(b"SET", _KEY, _VALUE, *options)
    before, rest = command.split(_KEY)
    between, after = rest.split(_VALUE)
    return before, between, after
