"""Long work in steps, between which the event loop goes round: no stream's tick waits for it."""

import asyncio
from collections.abc import Generator
from typing import TypeVar

# Less than the time that the ticker keeps quiet before a tick.
TURN_SECONDS = 0.001

Result = TypeVar("Result")


class Stepping:
    """Does one long work after the other, so that many of them take no more of a turn than one."""

    def __init__(self, turn_seconds: float = TURN_SECONDS) -> None:
        self._turn_seconds = turn_seconds
        self._one_at_a_time = asyncio.Lock()

    async def take(self, steps: Generator[None, None, Result]) -> Result:
        """Return what `steps` return, having waited for the loop now and then between them."""
        async with self._one_at_a_time:
            loop = asyncio.get_running_loop()
            end = loop.time() + self._turn_seconds
            while True:
                try:
                    next(steps)
                except StopIteration as ended:
                    result: Result = ended.value
                    return result
                if loop.time() >= end:
                    await asyncio.sleep(0)
                    end = loop.time() + self._turn_seconds
