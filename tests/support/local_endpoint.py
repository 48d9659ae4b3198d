"""The local endpoint, run in a thread by a route to a gateway."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from oblivious_client.serve import LocalEndpoint, start
from oblivious_client.transport import AsyncObliviousTransport

DEADLINE = 120.0


@contextlib.contextmanager
def serving(relay: str, *, most: int = 400, refusals: int = 32, **route: Any) -> Iterator[str]:
    """Run the endpoint; give its URL."""
    ready = threading.Event()
    urls: list[str] = []
    stops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        transport = AsyncObliviousTransport(relay, **route)
        server = await start(LocalEndpoint(transport, most, refusals), "127.0.0.1", 0)
        stop = asyncio.Event()
        stops.append((asyncio.get_running_loop(), stop))
        urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.set()
        async with server:
            await stop.wait()
        await transport.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(DEADLINE)
    try:
        yield urls[0]
    finally:
        loop, stop = stops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE)
