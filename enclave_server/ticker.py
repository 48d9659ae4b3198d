"""One clock for all streams of a worker: whoever waits for a tick is woken at it, on the dot.

What the event loop does between two ticks depends on what is being said: an event is parsed,
an answer is signed. If what goes out at a tick were late because of it, the lateness would tell.
So it is prepared somewhat before the tick, and from then until it is sent nothing else runs.
What has been said is collected just before that, for as long as it usually takes and not longer.
"""

import asyncio
import math
import time
from collections.abc import Callable

# Longer than what the loop does in one turn for one stream (the longest is an RSA signature,
# about a millisecond) and than the millisecond by which its timers may be late.
QUIET_SECONDS = 0.003

# The end of the wait is spent awake: how late a sleeper wakes depends on how idle the processor
# was, hence on what was said.
AWAKE_SECONDS = 0.0003

# By how much collecting may take longer than at the ticks before; it must stay below the quiet.
MORE_SECONDS = 0.001

# Of the time that preparing took at the ticks before, what still counts at the next.
_FORGETTING = 0.9


def _nothing() -> None:
    """Collect nothing."""


_Waiting = tuple[asyncio.Future[bytes], Callable[[], bytes], Callable[[], None]]


class Ticker:
    """Ticks every `seconds` while anybody waits; a tick that is missed is not made up for."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: list[_Waiting] = []
        self._scheduled = False
        self._count = 0  # of the last tick that was scheduled, since the clock's zero
        self._collecting = 0.0  # seconds that it takes
        self._preparing = 0.0  # seconds that it takes
        self._first = 0  # who is asked first, for the time was over before all had been

    async def next(
        self, prepare: Callable[[], bytes], collect: Callable[[], None] = _nothing
    ) -> bytes:
        """Return, at the next tick, what `prepare` returned shortly before it.

        `collect` is called before, if there is time.
        """
        woken: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((woken, prepare, collect))
        if not self._scheduled:
            self._schedule(woken.get_loop())
        return await woken

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = True
        self._count = max(self._count, math.floor(loop.time() / self._seconds)) + 1
        lead = min(QUIET_SECONDS + self._collecting + self._preparing, self._seconds / 2)
        loop.call_at(self._count * self._seconds - lead, self._prepare, loop)

    def _prepare(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have everything ready, and line up: the wait for the tick, then all that wait for it.

        All are put into the loop's queue in this one turn, so that nothing comes between them.
        """
        started = loop.time()
        waiting, self._waiting = self._waiting, []
        self._scheduled = False
        loop.call_soon(_wait_until, self._count * self._seconds)
        self._collect(waiting, loop)
        collected = loop.time()
        for woken, prepare, _ in waiting:
            if not woken.done():  # else its task has been cancelled
                _fulfil(woken, prepare)
        self._preparing = max(loop.time() - collected, self._preparing * _FORGETTING)
        self._collecting = max(collected - started, self._collecting * _FORGETTING)

    def _collect(self, waiting: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        """Ask as many as there is time for; the others are the first ones at the next tick."""
        latest = loop.time() + self._collecting + MORE_SECONDS
        first = self._first if self._first < len(waiting) else 0
        self._first = 0
        for place in (*range(first, len(waiting)), *range(first)):
            woken, _, collect = waiting[place]
            if loop.time() > latest:
                self._first = place
                return
            if not woken.done():
                collect()


def _fulfil(woken: asyncio.Future[bytes], prepare: Callable[[], bytes]) -> None:
    try:
        woken.set_result(prepare())
    except Exception as failure:  # it belongs to the one stream whose chunk it was
        woken.set_exception(failure)


def _wait_until(due: float) -> None:
    """Stop the loop until `due`, a few milliseconds at most; it uses no processor meanwhile."""
    rest = due - time.monotonic()
    if rest > AWAKE_SECONDS:
        time.sleep(rest - AWAKE_SECONDS)
    while time.monotonic() < due:
        pass
