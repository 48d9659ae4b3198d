"""HTTP/1.1, as plainly as both ends of a check need it (RFC 9112)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

HEAD_BYTES = 64 * 1024
READ_BYTES = 64 * 1024

Fields = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Head:
    """The head of a message, as it came."""

    raw: bytes
    start: list[str]
    fields: list[tuple[str, str]]

    def get(self, name: str) -> str:
        """Return the value of a field, names in lower case."""
        return ", ".join(value for known, value in self.fields if known.lower() == name)

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.start[1])


def nothing() -> Head:
    """Return the head of what never came."""
    return Head(b"", [], [])


def encode_head(start: str, fields: Fields) -> bytes:
    """Return the bytes of a head."""
    lines = [start, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def encode_chunk(data: bytes, extension: bytes = b"") -> bytes:
    """Return one chunk, with an extension if there is one."""
    size = b"%x;%b" % (len(data), extension) if extension else b"%x" % len(data)
    return b"%b\r\n%b\r\n" % (size, data)


@dataclass(slots=True)
class Stream:
    """One side of a connection; `seen` keeps what was read apart from bodies."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: bytearray = field(default_factory=bytearray)

    async def line(self) -> bytes:
        """Return the next line."""
        line = await self.reader.readuntil(b"\n")
        self.seen += line
        return line

    async def head(self) -> Head:
        """Return the next message's head."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        self.seen += raw
        first, *rest = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        pairs = (line.partition(":") for line in rest)
        return Head(raw, first.split(" ", 2), [(name, value.strip()) for name, _, value in pairs])

    async def exactly(self, size: int) -> AsyncIterator[bytes]:
        """Yield `size` bytes as they arrive; raise EOFError if they do not."""
        while size:
            data = await self.reader.read(min(size, READ_BYTES))
            if not data:
                raise EOFError
            size -= len(data)
            yield data

    async def body(self, head: Head) -> AsyncIterator[bytes]:
        """Yield the pieces of a body as they arrive; raise EOFError if its end is missing."""
        if "chunked" in head.get("transfer-encoding"):
            while size := int((await self.line()).partition(b";")[0], 16):
                async for data in self.exactly(size):
                    yield data
                await self.line()
            while (await self.line()).strip():
                pass
        elif head.get("content-length") or head.start[0] != "HTTP/1.1":
            async for data in self.exactly(int(head.get("content-length") or 0)):
                yield data
        else:
            while data := await self.reader.read(READ_BYTES):
                yield data

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def piece(self, data: bytes) -> None:
        """Send one chunk."""
        await self.send(encode_chunk(data))

    async def end(self) -> None:
        """Send the chunk that ends a body."""
        await self.send(b"0\r\n\r\n")

    async def gone(self) -> None:
        """Return when the peer has gone."""
        with suppress(OSError):
            while await self.reader.read(READ_BYTES):
                pass
