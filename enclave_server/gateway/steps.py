"""Long work in steps, between which the event loop goes round: no stream's tick waits for it.

A step that says of the next one that it is long has that done in a thread, beside the loop. Such a
step has to be one call that leaves the interpreter to others, as `cryptography`'s are.
"""

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

    async def take(self, steps: Generator[bool, None, Result]) -> Result:
        """Return what `steps` return, having waited for the loop now and then between them.

        True from a step: the next one is long. After a long step there has to be another.
        """
        async with self._one_at_a_time:
            loop = asyncio.get_running_loop()
            end = loop.time() + self._turn_seconds
            while True:
                try:
                    is_next_long = next(steps)
                    while is_next_long:
                        is_next_long = await loop.run_in_executor(None, next, steps)
                        end = loop.time() + self._turn_seconds
                except StopIteration as ended:
                    result: Result = ended.value
                    return result
                if loop.time() >= end:
                    await asyncio.sleep(0)
                    end = loop.time() + self._turn_seconds
