"""One clock for all streams of a worker: whoever waits for a tick is woken at it, on the dot.

What the event loop does between two ticks depends on what is being said: an event is parsed,
an answer is signed. If what goes out at a tick were late because of it, the lateness would tell.
So it is prepared somewhat before the tick, and from then until it is sent nothing else runs.
What has been said is collected just before that, as far as the time until the tick allows.
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

# What collecting may take in any case: a loop that is late for every tick has to get on too.
LEAST_SECONDS = 0.001

# Seconds that collecting and preparing are taken to need for one stream, before any is known.
_FIRST_GUESS = 50e-6

# Of the time that each needed at the ticks before, what still counts at the next.
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
        self._collecting = _FIRST_GUESS  # seconds for each stream
        self._preparing = _FIRST_GUESS
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
        loop.call_at((self._count - 0.5) * self._seconds, self._plan, loop)

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin in time for all that wait, so at most half a tick early."""
        each = self._collecting + self._preparing
        begin = self._count * self._seconds - QUIET_SECONDS - each * len(self._waiting)
        if loop.time() < begin:
            loop.call_at(begin, self._plan, loop)  # by then more may wait
        else:
            self._prepare(loop)

    def _prepare(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have everything ready, and line up: the wait for the tick, then all that wait for it.

        All are put into the loop's queue in this one turn, so that nothing comes between them.
        """
        waiting, self._waiting = self._waiting, []
        self._scheduled = False
        due = self._count * self._seconds
        loop.call_soon(_wait_until, due)
        self._collect(waiting, due - QUIET_SECONDS - self._preparing * len(waiting), loop)
        begun = loop.time()
        for woken, prepare, _ in waiting:
            if not woken.done():  # else its task has been cancelled
                _fulfil(woken, prepare)
        self._preparing = _usual(self._preparing, loop.time() - begun, len(waiting))

    def _collect(
        self, waiting: list[_Waiting], until: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Ask as many as there is time for; the others are the first ones at the next tick."""
        begun = loop.time()
        until = max(until, begun + LEAST_SECONDS)
        first = min(self._first, len(waiting))  # that one has gone
        asked = 0
        for place in (*range(first, len(waiting)), *range(first)):
            if loop.time() > until:
                self._first = place
                break
            woken, _, collect = waiting[place]
            if not woken.done():
                collect()
            asked += 1
        self._collecting = _usual(self._collecting, loop.time() - begun, asked)


def _usual(before: float, seconds: float, streams: int) -> float:
    """Return what one stream needs, after `streams` of them have taken `seconds`."""
    return max(seconds / streams, before * _FORGETTING) if streams else before


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
