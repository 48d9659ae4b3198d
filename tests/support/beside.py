"""Something of asyncio that runs beside a test that has no event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

DEADLINE = 120.0
"""Seconds after which a test fails rather than hang."""


@contextlib.contextmanager
def in_a_thread(service: AbstractAsyncContextManager[object]) -> Iterator[None]:
    """Have it entered in an event loop of a thread's own, until the block ends."""
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with service:
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(DEADLINE)
        yield
    finally:
        ended.set()
        thread.join(DEADLINE)
