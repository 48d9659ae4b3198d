"""One request on a connection of its own, whichever version of HTTP carries it."""

import asyncio
import ssl
import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from scripts.relay_kit.http1 import (
    HEAD_BYTES,
    Fields,
    Head,
    Stream,
    encode_chunk,
    encode_head,
)


class UsageError(Exception):
    """The relay or the recording gateway cannot be used; the message says what to do."""


class Call(Protocol):
    """A request under way, and its answer; OSError and EOFError tell that it has broken."""

    @property
    def address(self) -> object:
        """This end of the connection: (host, port, …), or something else for a Unix socket."""

    async def send(self, data: bytes, extension: bytes = b"") -> None:
        """Send a piece of the body, with a chunk extension where the version has such a thing."""

    async def end(self, trailers: Fields = ()) -> None:
        """End the body."""

    async def head(self) -> Head:
        """Return the head of the answer, informational ones left out."""

    def body(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the answer's body; raise EOFError if its end is missing."""

    async def cancel(self) -> None:
        """Give the request up, as a client does whose user has gone."""

    def close(self) -> None:
        """Drop the connection."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request; its framing is among its fields, as HTTP/1.1 writes it."""

    method: str
    path: str
    fields: Fields

    def has(self, name: str) -> bool:
        """Whether there is a field of that name, in lower case."""
        return any(known.lower() == name for known, _ in self.fields)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the relay is: (host, port) or a Unix socket's path, and its resource."""

    address: tuple[str, int] | str
    name: str
    path: str
    tls: ssl.SSLContext | None

    async def connect(self) -> Stream:
        """Open a connection."""
        if isinstance(self.address, str):
            streams = await asyncio.open_unix_connection(self.address, limit=HEAD_BYTES)
        else:
            streams = await asyncio.open_connection(*self.address, ssl=self.tls, limit=HEAD_BYTES)
        return Stream(*streams)


def parse_target(text: str, authority: str | None) -> Target:
    """Return the relay that a URL or `unix:PATH` names, trusting `authority`'s certificates."""
    if text.startswith("unix:"):
        return Target(text.removeprefix("unix:"), "relay", "/", None)
    url = urllib.parse.urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UsageError(f"{text} is not the URL of a relay: http://… or https://… is.")
    tls = ssl.create_default_context(cafile=authority) if url.scheme == "https" else None
    port = url.port or (443 if tls else 80)
    return Target((url.hostname, port), url.netloc, url.path or "/", tls)


class Http1Call:
    """A request in HTTP/1.1."""

    def __init__(self, stream: Stream, chunked: bool) -> None:
        self._stream = stream
        self._chunked = chunked
        self._head = Head(b"", [], [])

    @property
    def address(self) -> object:
        """This end of the connection."""
        return self._stream.writer.get_extra_info("sockname")

    async def send(self, data: bytes, extension: bytes = b"") -> None:
        """Send a piece of the body."""
        await self._stream.send(encode_chunk(data, extension) if self._chunked else data)

    async def end(self, trailers: Fields = ()) -> None:
        """End the body, which needs saying where its length was not."""
        if self._chunked:
            await self._stream.send(encode_head("0", trailers))

    async def head(self) -> Head:
        """Return the head of the answer, informational ones left out."""
        self._head = await self._stream.head()
        while self._head.start[1].startswith("1"):
            self._head = await self._stream.head()
        return self._head

    def body(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the answer's body."""
        return self._stream.body(self._head)

    async def cancel(self) -> None:
        """Give the request up, which HTTP/1.1 can only say by closing."""
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self._stream.writer.transport.abort()


async def call_http1(target: Target, request: Request) -> Call:
    """Open a connection and send the head of a request."""
    stream = await target.connect()
    fields = [("Host", target.name), *request.fields]
    await stream.send(encode_head(f"{request.method} {request.path} HTTP/1.1", fields))
    return Http1Call(stream, request.has("transfer-encoding"))
