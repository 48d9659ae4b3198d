"""Answering one request: its handler's response, written as fast as the peer reads it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from http import HTTPStatus

from enclave_server.http import problems
from enclave_server.http.dates import CurrentDate
from enclave_server.http.messages import Handler, Headers, OuterRequest, OuterResponse
from enclave_server.http.request_head import Head
from enclave_server.http.response_head import PROCESSING, encode_head
from enclave_server.http.transfer_coding import LAST_CHUNK, encode_chunk
from enclave_server.log import Log

# What asyncio may keep of an answer that the kernel does not take; a writer waits above it.
WRITE_BUFFER_BYTES = 32 * 1024

# What asyncio takes of an answer without ever asking the writer to wait, if nothing else waits.
AT_ONCE_BYTES = WRITE_BUFFER_BYTES // 2

# A longer body is written in pieces, each when the peer has taken the one before it: what asyncio
# keeps it moves, all of it, with each piece that the kernel takes.
PIECE_BYTES = 256 * 1024

CLOSE: Headers = ((b"connection", b"close"),)
_CHUNKED = ((b"transfer-encoding", b"chunked"),)


class Outlet:
    """The sending side of a connection, and whether its peer reads."""

    __slots__ = ("_date", "_transport", "writable")

    def __init__(self, transport: asyncio.Transport, date: CurrentDate) -> None:
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._transport = transport
        self._date = date
        self.writable: asyncio.Future[None] | None = None  # while the peer reads too slowly

    def pause(self) -> None:
        """Make the writer wait: the peer reads too slowly."""
        self.writable = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """Let the writer go on."""
        waiter, self.writable = self.writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def write(self, data: bytes) -> None:
        """Write to the peer, or to what is kept for it."""
        self._transport.write(data)

    def head(self, response: OuterResponse, framing: Headers) -> bytes:
        """Return the head of a response of several pieces."""
        fields = (*response.headers, (b"date", self._date.value()), *framing)
        return encode_head(response.status, fields)

    def write_whole(
        self, response: OuterResponse, body: bytes, ending: Headers, method: bytes
    ) -> None:
        """Write the response to a request of `method`."""
        # One write: the peer gets head and body in one segment, the loop makes one call.
        data = self.whole_head(response, body, ending)
        # RFC 9110, Section 9.3.2: the answer to HEAD MUST NOT have content.
        self._transport.write(data if method == b"HEAD" else data + body)

    def whole_head(self, response: OuterResponse, body: bytes, ending: Headers) -> bytes:
        """Return the head of a response with this body."""
        length = (b"content-length", b"%d" % len(body))
        return self.head(response, (length, *ending))

    async def write_in_pieces(self, head: bytes, body: bytes) -> None:
        """Write a long response, as fast as the peer reads it."""
        self._transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), PIECE_BYTES):
            if self.writable is not None:
                await self.writable
            self._transport.write(view[start : start + PIECE_BYTES])
            await asyncio.sleep(0)


class Exchange:
    """A request whose head has come, and the response to it."""

    __slots__ = ("_begun", "_handler", "_log", "_outlet", "head", "received", "refusal")

    def __init__(
        self, head: Head, found: Handler | OuterResponse, outlet: Outlet, log: Log
    ) -> None:
        """`found` is what answers the request, or the refusal that its head already decides."""
        self.head = head
        self.received = 0  # octets of the body
        self.refusal: OuterResponse | None  # what answers the request before any handler
        if isinstance(found, OuterResponse):
            self.refusal, self._handler = found, None
        else:
            self.refusal, self._handler = None, found
        self._outlet = outlet
        self._log = log
        self._begun = False  # the answer has begun

    def respond(self, body: bytes) -> OuterResponse | Awaitable[OuterResponse]:
        """Return the answer to the whole request, or what becomes it."""
        self.received = len(body)
        if self.refusal is not None:
            return self.refusal
        if self._handler is None:
            raise RuntimeError("a head without a handler")
        outer = self.head.request
        request = OuterRequest(outer.method, outer.path, outer.query, outer.headers, body)
        try:
            return self._handler(request)
        except Exception as error:
            return self._failure(error)

    async def settle(self, answer: Awaitable[OuterResponse]) -> OuterResponse:
        """Return what a handler answers in the end."""
        try:
            return await answer
        except Exception as error:
            return self._failure(error)

    def _failure(self, error: Exception) -> OuterResponse:
        """Return the answer after a fault of ours: it ends one request and shows no text."""
        self._log.event("handler_failed", kind=type(error).__name__)
        return problems.problem(HTTPStatus.INTERNAL_SERVER_ERROR)

    def write_whole(self, response: OuterResponse, body: bytes, ending: Headers) -> int:
        """Write the answer, which has this body; return its octets."""
        self._begun = True
        self._outlet.write_whole(response, body, ending, self.head.request.method)
        return len(body)

    async def send(self, response: OuterResponse, ending: Headers) -> int:
        """Write the answer, as fast as the peer reads it; return the octets of its body."""
        if isinstance(response.body, bytes):
            sent = await self._write_bytes(response, response.body, ending)
        else:
            sent = await self._write_stream(response, response.body, ending)
        if self._outlet.writable is not None:
            await self._outlet.writable
        return sent

    async def _write_bytes(self, response: OuterResponse, body: bytes, ending: Headers) -> int:
        if len(body) <= PIECE_BYTES or self.head.request.method == b"HEAD":
            return self.write_whole(response, body, ending)
        self._begun = True
        head = self._outlet.whole_head(response, body, ending)
        await self._outlet.write_in_pieces(head, body)
        return len(body)

    async def _write_stream(
        self, response: OuterResponse, body: AsyncIterator[bytes], ending: Headers
    ) -> int:
        # RFC 9112, Section 6.1: no transfer coding to an HTTP/1.0 peer; the end of the
        # connection is the end of the body.
        chunked = self.head.version != b"1.0"
        outlet = self._outlet
        # Goes with the first item.
        unsent = outlet.head(response, (*_CHUNKED, *ending) if chunked else CLOSE)
        sent = 0
        try:
            async for item in body:
                if not item:
                    continue
                self._begun = True
                outlet.write(unsent + (encode_chunk(item) if chunked else item))
                unsent = b""
                sent += len(item)
                if outlet.writable is not None:
                    await outlet.writable
        finally:
            await _close_iterator(body)
        self._begun = True
        outlet.write(unsent + (LAST_CHUNK if chunked else b""))
        return sent

    def probe(self) -> None:
        """Write an interim answer, so that a peer that is gone is noticed by the failure."""
        # RFC 9110, Section 15.2: a server MUST NOT send a 1xx response to an HTTP/1.0 client.
        if not self._begun and self.head.version != b"1.0":
            self._outlet.write(PROCESSING)


async def _close_iterator(body: AsyncIterator[bytes]) -> None:
    """Let a generator that is not exhausted release what it holds, now."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
