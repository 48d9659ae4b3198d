"""Turns of the event loop: at most one large question is taken apart in each.

Taking a question apart is one step that nothing interrupts. Many that are ready at the same moment
would all take theirs in one turn of the loop, in which no stream goes on and no heart beats: a few
megabytes from one peer would have its parent take the worker for dead.
"""

import asyncio

# Below it the cost is not worth a turn: less than a millisecond, whatever a question says.
LARGE_BYTES = 4096


class Turns:
    """Gives those who ask a turn each, in the order in which they ask."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait(self, octets: int) -> None:
        """Return at once if there are few octets to read, else in a turn that no other has."""
        if octets < LARGE_BYTES:
            return
        async with self._lock:
            await asyncio.sleep(0)
