"""What is still to be told to a store on the host: when, how often, and in which order.

What ends holds goes together and rarely, so that the host's clock sees when tokens are held, and
nothing of when answers began or of how an upstream failed: what is given back goes with what is
spent. Neither is on the way of an answer. What the store did not take is told again until it does.

A token that is given back is held in the store meanwhile. Who wants it again may have it without
the store, which then sees one hold, and one end of it, for both.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from enclave_server.payment.resp import Kind

FLUSH_SECONDS = 30.0
"""Between flushes. With the longest answer it is less than the lease of a hold."""

RETRY_SECONDS = 1.0
"""After which a store that failed is told again."""

BATCH = 64
"""Commands at a time: some six kilobytes."""

MAX_COMMITS = 1 << 16
"""That wait for a store that takes none. Above it the oldest is lost, to the operator's loss: its
token can be spent again when its lease is over."""

MAX_RETURNS = 1 << 12
"""The same of what is given back; it is free when its lease is over."""

CLOSE_SECONDS = 2.0
"""For all that is left, when the worker ends."""

Send = Callable[[bytes, Sequence[Kind]], Awaitable[object]]


class Settlement(NamedTuple):
    """A command that ends a hold, and when it is due by the loop's clock.

    Before that, until `again_until`, the hold may be taken up again by its `ticket`.
    """

    due: float
    nullifier: bytes
    command: bytes
    kind: Kind
    ticket: bytes = b""
    again_until: float = -math.inf


Waiting = dict[bytes, Settlement]
"""What waits, by its command, in the order in which it came."""


class Settlements:
    """Sends each command when it is due; one task, which runs while there is something to do."""

    def __init__(self, send: Send, errors: tuple[type[Exception], ...]) -> None:
        """`send` raises one of `errors` when the store did not take what it was sent."""
        self._send, self._errors = send, errors
        self._commits: Waiting = {}
        self._returns: Waiting = {}
        self._unsent: dict[bytes, Settlement] = {}  # of the returns those that no store was sent
        self._earlier = asyncio.Event()
        self._wakes_at = math.inf
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many holds are still to be ended."""
        return len(self._commits) + len(self._returns)

    def commit(self, nullifier: bytes, command: bytes) -> None:
        """Have `command` sent with the next flush."""
        self._put(
            self._commits, MAX_COMMITS, Settlement(_next_flush(), nullifier, command, Kind.DONE)
        )

    def give_back(
        self, nullifier: bytes, command: bytes, ticket: bytes, again_until: float
    ) -> None:
        """Have `command` sent with the next flush; `ticket` is that of the hold."""
        settlement = Settlement(_next_flush(), nullifier, command, Kind.COUNT, ticket, again_until)
        self._put(self._returns, MAX_RETURNS, settlement)
        self._unsent[nullifier] = settlement

    def undo(self, nullifier: bytes, command: bytes) -> None:
        """Have `command` sent at once, for a hold that failed: it may be there all the same."""
        self._put(self._returns, MAX_RETURNS, Settlement(_now(), nullifier, command, Kind.COUNT))

    def take_up(self, nullifier: bytes) -> Settlement | None:
        """Return the return of a token that is held again and not sent; None where there is none.

        Once it was sent, and be it in vain, somebody else may hold the token.
        """
        settlement = self._unsent.get(nullifier)
        if settlement is None or settlement.again_until < _now():
            return None
        del self._unsent[nullifier], self._returns[settlement.command]
        return settlement

    async def close(self) -> None:
        """Send all that is left, once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._send_due(math.inf)
        except self._errors:
            return  # their leases end by themselves

    def _put(self, waiting: Waiting, most: int, settlement: Settlement) -> None:
        if len(waiting) >= most:
            oldest = waiting.pop(next(iter(waiting)))
            self._forget(oldest)
        waiting[settlement.command] = settlement
        self._wake(settlement.due)

    def _wake(self, due: float) -> None:
        if due < self._wakes_at:  # else the task is awake by then anyway
            self._wakes_at = due
            self._earlier.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self.waiting:
            await self._until_due()
            try:
                await self._send_due(_now())
            except self._errors:
                await asyncio.sleep(RETRY_SECONDS)

    async def _until_due(self) -> None:
        """Wait until the first of all is due."""
        first = min(each.due for of in (self._commits, self._returns) for each in of.values())
        self._wakes_at = first
        while (rest := self._wakes_at - _now()) > 0:
            self._earlier.clear()
            try:
                async with asyncio.timeout(rest):
                    await self._earlier.wait()
            except TimeoutError:
                break

    async def _send_due(self, now: float) -> None:
        """Send what is due; raises what the last of both failed with.

        Neither waits for the other: a store that takes no scripts shall still learn what is spent.
        """
        failed: Exception | None = None
        for waiting in (self._returns, self._commits):
            try:
                await self._send_all(waiting, now)
            except self._errors as error:
                failed = error
        if failed is not None:
            raise failed

    async def _send_all(self, waiting: Waiting, now: float) -> None:
        due = [each for each in waiting.values() if each.due <= now]
        # In the order of their nullifiers, which is none: whose answer began before whose is not
        # told.
        due.sort(key=lambda each: each.nullifier)
        for start in range(0, len(due), BATCH):
            await self._send_batch(waiting, due[start : start + BATCH])

    async def _send_batch(self, waiting: Waiting, batch: Sequence[Settlement]) -> None:
        for each in batch:
            self._forget(each)
        commands = b"".join(each.command for each in batch)
        await self._send(commands, [each.kind for each in batch])
        for each in batch:
            waiting.pop(each.command, None)

    def _forget(self, settlement: Settlement) -> None:
        """Have a hold not taken up again."""
        if self._unsent.get(settlement.nullifier) is settlement:
            del self._unsent[settlement.nullifier]


def _next_flush() -> float:
    return (_now() // FLUSH_SECONDS + 1) * FLUSH_SECONDS


def _now() -> float:
    return asyncio.get_running_loop().time()
