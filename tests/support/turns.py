"""Counts the turns of the running event loop."""

import asyncio
from collections.abc import Callable


def counting_turns() -> Callable[[], int]:
    """Return what tells in which turn of the running loop it is called; the first one is 0."""
    loop = asyncio.get_running_loop()
    turn = 0

    def count() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(count)

    loop.call_soon(count)
    return lambda: turn
