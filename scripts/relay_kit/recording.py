"""The gateway behind the relay under test: it records, and answers as a check wants."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scripts.relay_kit.http1 import HEAD_BYTES, Head, Stream, encode_head, nothing

ANSWER = ("Content-Type", "message/ohttp-res")


@dataclass(slots=True)
class Exchange(Stream):
    """One request at the gateway, and the way to answer it."""

    request: Head = field(default_factory=nothing)

    @property
    def target(self) -> str:
        """The request's target."""
        return self.request.start[1]

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([data async for data in self.body(self.request)])

    async def start(self, status: int, *fields: tuple[str, str]) -> None:
        """Send the head of an answer that comes in chunks."""
        chunked = ("Transfer-Encoding", "chunked")
        await self.send(encode_head(f"HTTP/1.1 {status} Status", [*fields, chunked]))

    async def answer(self, status: int, body: bytes, *fields: tuple[str, str]) -> None:
        """Send a whole answer."""
        size = ("Content-Length", str(len(body)))
        await self.send(encode_head(f"HTTP/1.1 {status} Status", [*fields, size]) + body)


Script = Callable[[Exchange], Awaitable[None]]


async def echo(exchange: Exchange) -> None:
    """Answer with the body that came."""
    await exchange.answer(200, await exchange.read(), ANSWER)


class Gateway:
    """A gateway that records what arrives and does with it what the check at hand wants."""

    def __init__(self) -> None:
        self.arrivals: list[Exchange] = []
        self.script: Script = echo
        self.failures: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the relay's."""
        try:
            while True:
                exchange = Exchange(reader, writer)
                exchange.request = await exchange.head()
                self.arrivals.append(exchange)
                await self.script(exchange)
        except (EOFError, OSError, asyncio.CancelledError):
            pass  # the relay has closed, or the script has, or the checks are over
        except (ValueError, IndexError, asyncio.LimitOverrunError):
            self.failures.append("something that is not HTTP/1.1 arrived")
        writer.transport.abort()

    async def listen(self, address: str) -> tuple[asyncio.Server, str]:
        """Listen; return the server and what the relay has to be pointed at."""
        if address.startswith("unix:"):
            path = address.removeprefix("unix:")
            return await asyncio.start_unix_server(self.serve, path, limit=HEAD_BYTES), address
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError("it is neither HOST:PORT nor unix:PATH")
        server = await asyncio.start_server(self.serve, host, int(port), limit=HEAD_BYTES)
        return server, f"http://{host}:{server.sockets[0].getsockname()[1]}"
