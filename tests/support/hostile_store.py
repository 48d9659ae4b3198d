"""A store on the host that says what a test wants, and what it was told."""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.beside import in_a_thread

DEADLINE = 120.0
"""Seconds after which a test fails rather than hang."""

Reply = Callable[[bytes], Awaitable[bytes | None]]
"""Takes one command, without its framing; returns what is sent for it, None to hang up."""


def saying(*replies: bytes | None) -> Reply:
    """Say these to one command after the other, the last one for ever."""
    left = list(replies)

    async def reply(command: bytes) -> bytes | None:
        return left.pop(0) if len(left) > 1 else left[0]

    return reply


async def nothing(command: bytes) -> bytes | None:
    """Never say a word."""
    await asyncio.sleep(3600)
    return None


class HostileStore:
    """Listens on a Unix socket: `async with HostileStore(saying(b"+OK\\r\\n")) as store`."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.commands: list[bytes] = []
        self.connections = 0
        self._folder = tempfile.TemporaryDirectory(prefix="oi-")
        self._path = Path(self._folder.name) / "store.sock"
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"unix:{self._path}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.go_away()
        self._folder.cleanup()

    async def listen(self) -> None:
        """Begin to listen, or do so again."""
        self._server = await asyncio.start_unix_server(self._accept, self._path)

    async def go_away(self) -> None:
        """End every connection, and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while command := await read_command(reader):
                self.commands.append(b" ".join(command))
                said = await self.reply(command[0])
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)


async def read_command(reader: asyncio.StreamReader) -> list[bytes]:
    """Return the arguments of the next command; none at the end."""
    head = await reader.readline()
    if not head:
        return []
    assert head[:1] == b"*"
    arguments = []
    for _ in range(int(head[1:])):
        size = await reader.readline()
        assert size[:1] == b"$"
        arguments.append((await reader.readexactly(int(size[1:]) + 2))[:-2])
    return arguments


@contextlib.contextmanager
def running_hostile_store(reply: Reply) -> Iterator[HostileStore]:
    """Yield such a store that answers from a thread of its own."""
    store = HostileStore(reply)
    with in_a_thread(store):
        yield store
