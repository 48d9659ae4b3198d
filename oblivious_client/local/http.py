"""A small HTTP/1.1 server for programs on this machine, on asyncio and h11.

Each connection goes through the same steps, one request after another: its head is read, and the
service says whether such a request may come at all; only then is a body read, up to its limit, and
handed over whole. The answer is a body whole, or pieces as they come. While it is made nothing else
of the connection is answered, and a peer that goes away cancels the handler at once. What is turned
away before its body has come is answered, and then listened to for a while: a peer that is still
sending would otherwise see the connection break and not the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

import h11

from oblivious_client.local.messages import Handled, LocalRequest, LocalResponse, Pieces

# Heads of SDKs are 1 KiB; bodies may hold pictures. Both as the gateway has them.
HEAD_LIMIT = 16384
BODY_LIMIT = 20 * 1024 * 1024
READ_SIZE = 65536
# A program that is silent this long between requests, or within one, has forgotten us.
IDLE_SECONDS = 75.0
# For a program to read why its upload is not wanted: it may send all of it before it looks.
LINGER_SECONDS = 5.0
LINGER_OCTETS = 2 * BODY_LIMIT
# For a program to read the event that says why: browsers drop what they have not read of a stream
# that breaks.
FAREWELL_SECONDS = 1.0

_CLOSE = (b"connection", b"close")

Handler = Callable[[LocalRequest], Awaitable[LocalResponse]]


def _admit_all(head: LocalRequest) -> LocalResponse | None:
    return None


def _refuse_bare(status: int, head: LocalRequest | None) -> LocalResponse:
    return LocalResponse(status, (), b"")


def _tell_nobody(handled: Handled) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Service:
    """What answers the requests of a connection.

    `admit` is asked before a body is read and returns the answer to what may not come; `refuse`
    writes the answer to what cannot be read, whose head is not known where that is at fault;
    `tell` is told of every request in the end.
    """

    handle: Handler
    admit: Callable[[LocalRequest], LocalResponse | None] = _admit_all
    refuse: Callable[[int, LocalRequest | None], LocalResponse] = _refuse_bare
    tell: Callable[[Handled], None] = _tell_nobody


class BodyTooLarge(Exception):
    """The body is over its limit."""


async def serve_connection(
    service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the requests of one connection until either side ends it."""
    connection = _Connection(service, reader, writer)
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
        self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._service = service
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    async def answer_next(self) -> bool:
        """Read a request and answer it; return whether another may follow."""
        self._record = _Record()
        head = await self._read_head()
        if head is None:
            return False
        self._record.begin(head)
        turned_away = self._service.admit(head)
        if turned_away is not None:
            return await self._turn_away(turned_away)
        if _announced(head) > BODY_LIMIT:
            raise BodyTooLarge
        body = await self._read_body()
        self._record.received = len(body)
        try:
            return await self._answer_or_leave(
                LocalRequest(head.method, head.path, head.fields, body)
            )
        finally:
            self._service.tell(self._record.ended())

    async def refuse(self, status: int) -> None:
        """Answer a request that cannot be read, if no answer has begun."""
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._turn_away(self._service.refuse(status, self._record.head))

    async def _turn_away(self, response: LocalResponse) -> bool:
        """Answer a request before its body has been read; return whether another may follow."""
        is_all_there = self._is_all_there()
        if not is_all_there:
            fields = [field for field in response.fields if field[0] != _CLOSE[0]]
            response = LocalResponse(response.status, (*fields, _CLOSE), response.body)
        try:
            await self._send_whole(response)
            if is_all_there:
                return self._is_next()
            await self._linger()
        except (OSError, h11.LocalProtocolError):
            return False  # it is gone
        finally:
            self._service.tell(self._record.ended())
        return False

    async def _linger(self) -> None:
        """Take what still comes for a while, and nothing of it (RFC 9112, Section 9.6)."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        left = LINGER_OCTETS
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0 and (data := await self._reader.read(READ_SIZE)):
                    left -= len(data)

    def _is_all_there(self) -> bool:
        """Whether the peer has nothing more to send of its request."""
        try:
            return isinstance(self._h11.next_event(), h11.EndOfMessage)
        except h11.RemoteProtocolError:
            return False

    async def _read_head(self) -> LocalRequest | None:
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        path = head.target.partition(b"?")[0].decode("ascii")
        return LocalRequest(head.method.decode("ascii"), path, tuple(head.headers))

    async def _read_body(self) -> bytes:
        """Return the body; raises BodyTooLarge, and RemoteProtocolError if it breaks off."""
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                raise BodyTooLarge
        return bytes(body)

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

    async def _answer_or_leave(self, request: LocalRequest) -> bool:
        """Answer unless the peer goes away; return whether another request may follow."""
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
        return self._is_next()

    def _is_next(self) -> bool:
        """Make ready for another request, if one may follow."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def _until_gone(self) -> None:
        """Return when the peer has closed; what it sends early is kept for later."""
        data = await self._reader.read(READ_SIZE)
        if data:
            self._h11.receive_data(data)
            # One early read is enough to keep; more would let a peer fill our memory.
            await asyncio.Event().wait()

    async def _answer(self, request: LocalRequest) -> None:
        response = await self._service.handle(request)
        if isinstance(response.body, bytes):
            await self._send_whole(response)
        else:
            await self._send_pieces(response, response.body)

    async def _send_whole(self, response: LocalResponse) -> None:
        body = response.body if isinstance(response.body, bytes) else b""
        length = (b"content-length", str(len(body)).encode())
        # RFC 9110, Section 9.3.2: the answer to HEAD MUST NOT have content.
        head = self._record.head
        content = b"" if head is not None and head.method == "HEAD" else body
        await self._begin(response, length)
        await self._send(h11.Data(data=content), h11.EndOfMessage())
        self._record.is_whole = True

    async def _send_pieces(self, response: LocalResponse, pieces: Pieces) -> None:
        async with aclosing(pieces):
            await self._begin(response, (b"transfer-encoding", b"chunked"))
            try:
                async for piece in pieces:
                    await self._send(h11.Data(data=piece))
            except ConnectionAbortedError:
                await asyncio.sleep(FAREWELL_SECONDS)
                raise
        # Without the end mark the peer knows that the body is not complete.
        await self._send(h11.EndOfMessage())
        self._record.is_whole = True

    async def _begin(self, response: LocalResponse, framing: tuple[bytes, bytes]) -> None:
        self._record.status = response.status
        fields = [*response.fields, framing]
        await self._send(h11.Response(status_code=response.status, headers=fields))

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            data = self._h11.send(event)
            if data:
                self._writer.write(data)
            if isinstance(event, h11.Data):
                self._record.sent += len(event.data)
        await self._writer.drain()


class _Record:
    """What is told of a request in the end."""

    def __init__(self) -> None:
        self.head: LocalRequest | None = None
        self.status = 0
        self.received = self.sent = 0
        self.is_whole = False
        self._begun = time.monotonic()

    def begin(self, head: LocalRequest) -> None:
        """Count from the end of its head on."""
        self.head, self._begun = head, time.monotonic()

    def ended(self) -> Handled:
        """Return the record as it is now."""
        method, path = ("", "") if self.head is None else (self.head.method, self.head.path)
        seconds = time.monotonic() - self._begun
        return Handled(method, path, self.status, self.received, self.sent, seconds, self.is_whole)


def _announced(head: LocalRequest) -> int:
    """Return the length that a body is said to have, 0 where nothing says; h11 has checked it."""
    return int(head.field(b"content-length") or 0)
