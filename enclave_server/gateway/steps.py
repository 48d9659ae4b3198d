"""Long work in steps, between which the event loop goes round: no stream's tick waits for it.

A step that says of the next one that it is long has that done in a thread, beside the loop. Such a
step has to be one call that leaves the interpreter to others, as `cryptography`'s are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

# Less than the time that the ticker keeps quiet before a tick.
TURN_SECONDS = 0.001

Result = TypeVar("Result")


class Beside:
    """One thread beside the event loop, for one thing at a time, also where nobody waits any more.

    It is nobody else's: in those of the loop names are resolved, which can take all of them for as
    long as no name server answers.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    def do(self, work: Callable[[], Result]) -> Awaitable[Result]:
        """Return what becomes the result of `work`, which may not raise StopIteration."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


class Stepping:
    """Does one long work after the other, so that many of them take no more of a turn than one."""

    def __init__(self, turn_seconds: float = TURN_SECONDS) -> None:
        self._turn_seconds = turn_seconds
        self._one_at_a_time = asyncio.Lock()
        self._beside = Beside()

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
                        is_next_long = await self._beside.do(partial(next, steps))
                        end = loop.time() + self._turn_seconds
                except StopIteration as ended:
                    result: Result = ended.value
                    return result
                if loop.time() >= end:
                    await asyncio.sleep(0)
                    end = loop.time() + self._turn_seconds
