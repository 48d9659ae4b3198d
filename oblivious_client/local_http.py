"""A small HTTP/1.1 server for programs on this machine, on asyncio and h11.

A request is one body in, one body out, whole or in pieces; a peer that goes away cancels the
handler at once. Requests are not answered while another of the same connection is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import h11

# Heads of SDKs are 1 KiB; bodies may hold pictures. Both as the gateway has them.
HEAD_LIMIT = 16384
BODY_LIMIT = 20 * 1024 * 1024
READ_SIZE = 65536
# A program that is silent this long between requests, or within one, has forgotten us.
IDLE_SECONDS = 75.0

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class LocalRequest:
    """A request of a program on this machine; field names are lower-case."""

    method: str
    path: str
    fields: Fields
    body: bytes = field(repr=False)

    def count(self, name: bytes) -> int:
        """Return how many fields of that name there are."""
        return sum(key == name for key, _ in self.fields)

    def field(self, name: bytes) -> str | None:
        """Return the value of the only field of that name, or None."""
        values = [value for key, value in self.fields if key == name]
        return values[0].decode("latin-1") if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class LocalResponse:
    """A response; a generator of pieces is sent in chunks as they come."""

    status: int
    fields: Fields
    body: bytes | AsyncGenerator[bytes, None] = field(repr=False)


Handler = Callable[[LocalRequest], Awaitable[LocalResponse]]


class BodyTooLarge(Exception):
    """The body is over its limit."""


async def serve_connection(
    handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the requests of one connection until either side ends it."""
    connection = _Connection(handler, reader, writer)
    try:
        while await connection.answer_next():
            pass
    except h11.RemoteProtocolError as malformed:
        await connection.refuse(malformed.error_status_hint)
    except BodyTooLarge:
        await connection.refuse(413)
    except OSError:
        return  # gone, silent for too long, or broken off by the handler
    finally:
        writer.close()


class _Connection:
    def __init__(
        self, handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._handler = handler
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    async def answer_next(self) -> bool:
        """Read a request and answer it; return whether another may follow."""
        request = await self._read_request()
        if request is None:
            return False
        answering = asyncio.ensure_future(self._answer(request))
        watching = asyncio.ensure_future(self._until_gone())
        try:
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, watching):
                task.cancel()
            await asyncio.gather(answering, watching, return_exceptions=True)
        if answering.cancelled():
            return False
        answering.result()
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def refuse(self, status: int) -> None:
        """Answer a request that cannot be read, if no answer has begun."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        head = h11.Response(status_code=status, headers=[(b"content-length", b"0")])
        try:
            await self._send(head, h11.EndOfMessage())
        except (OSError, h11.LocalProtocolError):
            return  # it is gone

    async def _read_request(self) -> LocalRequest | None:
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                raise BodyTooLarge
        if not isinstance(event, h11.EndOfMessage):
            return None
        path = head.target.partition(b"?")[0].decode("ascii")
        return LocalRequest(head.method.decode("ascii"), path, tuple(head.headers), bytes(body))

    async def _next_event(self) -> h11.Event | None:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                return None
            if self._h11.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            async with asyncio.timeout(IDLE_SECONDS):
                self._h11.receive_data(await self._reader.read(READ_SIZE))

    async def _until_gone(self) -> None:
        """Return when the peer has closed; what it sends early is kept for later."""
        data = await self._reader.read(READ_SIZE)
        if data:
            self._h11.receive_data(data)
            # One early read is enough to keep; more would let a peer fill our memory.
            await asyncio.Event().wait()

    async def _answer(self, request: LocalRequest) -> None:
        response = await self._handler(request)
        if isinstance(response.body, bytes):
            length = (b"content-length", str(len(response.body)).encode())
            # RFC 9110, Section 9.3.2: the answer to HEAD MUST NOT have content.
            content = b"" if request.method == "HEAD" else response.body
            await self._send(
                h11.Response(status_code=response.status, headers=[*response.fields, length]),
                h11.Data(data=content),
                h11.EndOfMessage(),
            )
            return
        chunked = (b"transfer-encoding", b"chunked")
        await self._send(
            h11.Response(status_code=response.status, headers=[*response.fields, chunked])
        )
        # Without the end mark the peer knows that the body is not complete.
        async with aclosing(response.body) as pieces:
            async for piece in pieces:
                await self._send(h11.Data(data=piece))
        await self._send(h11.EndOfMessage())

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            data = self._h11.send(event)
            if data:
                self._writer.write(data)
        await self._writer.drain()
