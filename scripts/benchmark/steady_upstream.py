"""An OpenAI-compatible upstream that streams to any number of clients at a steady pace: a stand-in.

    python -m scripts.benchmark.steady_upstream SOCKET EVENTS-A-SECOND [CERTIFICATE]

With a certificate (and its key in the same file) it is asked over TLS.
No answer has an end. All streams are served by one loop, a tenth of them at a time, so that
this program takes little of a machine on which another one is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

from scripts.benchmark.certificates import server_context
from scripts.local.scripted_upstream import EVENTS_HEAD, event

GROUPS = 10
EVENT = event({"content": " word"})


class Client(asyncio.Protocol):
    """A connection: whatever is asked starts the stream."""

    def __init__(self, group: set[asyncio.Transport]) -> None:
        self.group = group
        self.started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream transport")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Begin to answer."""
        if not self.started:
            self.started = True
            self.transport.write(EVENTS_HEAD + event({"role": "assistant", "content": ""}))
            self.group.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the group."""
        self.group.discard(self.transport)


async def main() -> None:
    """Serve until the end."""
    loop = asyncio.get_running_loop()
    groups: list[set[asyncio.Transport]] = [set() for _ in range(GROUPS)]
    turns = itertools.cycle(groups)
    server = await loop.create_unix_server(
        lambda: Client(next(turns)), sys.argv[1], backlog=4096, ssl=server_context(sys.argv[3:])
    )
    print(json.dumps({"event": "ready", "listen": f"unix:{sys.argv[1]}"}), flush=True)
    async with server:
        rate = float(sys.argv[2])
        due = loop.time()
        for group in itertools.cycle(groups if rate else ()):
            due += 1 / rate / GROUPS
            await asyncio.sleep(max(0.0, due - loop.time()))
            for transport in list(group):
                transport.write(EVENT)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
