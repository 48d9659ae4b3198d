"""Requests to upstreams over HTTP/1.1 (httpcore), with deadlines, and connections that are kept."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import h11
import httpcore

from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.models import Upstream
from enclave_server.chat.upstream.socket_stream import SocketStream, connect
from protocol.binary_http import Fields

# A kept connection is not used again after this; most servers keep theirs longer.
IDLE_SECONDS = 30.0

# An engine or a proxy that has just restarted listens again soon after.
RETRY_AFTER_SECONDS = 0.25

# Every connection here leads to one upstream, so that httpcore need not tell them apart by name.
ORIGIN = httpcore.Origin(b"http", b"upstream", 80)

# Octets of a connection: None if none has arrived, no octets at its end.
Arrived = Callable[[], bytes | None]


@dataclass(slots=True)
class Link:
    """One connection: httpcore's, and the stream below it."""

    http: httpcore.AsyncHTTP11Connection
    stream: SocketStream

    def is_clean(self) -> bool:
        """Whether the next answer on it can only be the answer to the next request."""
        # What arrived after the end of an answer waits inside httpcore, which has no other way
        # to ask. It would be taken for the answer to another person's request.
        return self.http.is_idle() and self.http._h11_state.trailing_data == (b"", False)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn whatever ends an exchange early into UpstreamError."""
    try:
        yield
    except TimeoutError:
        raise UpstreamError(Failure.SLOW) from None
    except (httpcore.ProtocolError, httpcore.NetworkError):
        raise UpstreamError(Failure.BROKEN) from None


class UpstreamResponse:
    """A response of which the head has arrived, whatever it says. Close it, whatever happens.

    `fields` are in the order of arrival, their names in lower case.
    """

    def __init__(
        self,
        connections: "UpstreamConnections",
        link: Link,
        response: httpcore.Response,
        end: float,
    ) -> None:
        self.status = response.status
        self.fields = tuple((name.lower(), value) for name, value in response.headers)
        self._connections, self._link, self._response = connections, link, response
        # httpcore hands on the events of its parser one by one, each to a task that it wakes.
        # Asked here, it gives all there are at once.
        self._parser = link.http._h11_state
        self._waiting = self._whole = self._closed = self._expired = False
        # One timer for the whole answer: one for each piece costs more than reading the piece.
        self._timer = asyncio.get_running_loop().call_at(end, self._expire)

    async def read_up_to(self, limit: int) -> bytes:
        """Return the body, or its first `limit` octets and somewhat more; raises UpstreamError."""
        body = bytearray()
        while len(body) < limit and (piece := await self.next_piece()) is not None:
            body += piece
        return bytes(body)

    async def next_piece(self) -> bytes | None:
        """Return what arrives next of the body, or None at its end; raises UpstreamError."""
        stream = self._link.stream
        while (piece := self._take(stream.take_arrived)) == b"":
            await stream.arrival()
        return piece

    def take(self) -> bytes | None:
        """Return what has arrived of the body, be it nothing; None at its end.

        Raises UpstreamError.
        """
        return self._take(self._link.stream.ask)

    def _take(self, arrived: Arrived) -> bytes | None:
        try:
            piece = None if self._whole else self._parsed(arrived)
        except (h11.RemoteProtocolError, httpcore.ReadError):
            raise UpstreamError(Failure.SLOW if self._expired else Failure.BROKEN) from None
        if piece is None and self._expired:  # an answer that ends with its connection
            raise UpstreamError(Failure.SLOW)
        return piece

    def _parsed(self, arrived: Arrived) -> bytes | None:
        if self._waiting:
            if (data := arrived()) is None:
                return b""
            self._parser.receive_data(data)
        pieces = []
        try:
            while type(event := self._parser.next_event()) is h11.Data:
                pieces.append(event.data)
            self._waiting = event is h11.NEED_DATA
            self._whole = not self._waiting
        except h11.RemoteProtocolError:
            self._waiting = False  # once broken, it fails again when asked again
            if not pieces:
                raise
        if self._whole and not pieces:
            return None
        return b"".join(pieces)

    def _expire(self) -> None:
        """Give up: whoever reads sees the connection end."""
        self._expired = True
        self._link.stream.close()

    async def close(self) -> None:
        """Keep the connection if the whole answer was read, else close it."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        try:
            await self._response.aclose()
        finally:
            self._connections.release(self._link)


class UpstreamConnections:
    """All connections to one upstream: those in use are counted, idle ones are kept for reuse."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._context = upstream.ssl_context()
        self._idle: list[Link] = []
        self._in_use = 0

    async def post(self, target: bytes, fields: Fields, body: bytes) -> UpstreamResponse:
        """Return the response to a POST, whatever its status; raises UpstreamError.

        `fields` say all but the length of the body and whether the connection is kept.
        """
        if self._in_use >= self.upstream.concurrency:
            raise UpstreamError(Failure.BUSY, retry_after=1)
        url = httpcore.URL(scheme=ORIGIN.scheme, host=ORIGIN.host, target=target)
        fields = (*fields, *self._framing(len(body)))
        request = httpcore.Request(b"POST", url, headers=fields, content=body)
        end = asyncio.get_running_loop().time() + self.upstream.total_seconds
        self._in_use += 1
        try:
            link, response = await self._send(request)
        except BaseException:
            self._in_use -= 1
            raise
        return UpstreamResponse(self, link, response, end)

    def release(self, link: Link) -> None:
        """Take back a connection after its exchange."""
        self._in_use -= 1
        if link.is_clean() and len(self._idle) < self.upstream.idle_connections:
            link.stream.watch()
            self._idle.append(link)
        else:
            link.stream.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().stream.close()

    def _framing(self, size: int) -> Fields:
        length = (b"Content-Length", b"%d" % size)
        return (length,) if self.upstream.idle_connections else (length, (b"Connection", b"close"))

    async def _send(self, request: httpcore.Request) -> tuple[Link, httpcore.Response]:
        link = self._idle_link() or await self._connect()
        before = link.stream.handed_over
        try:
            return link, await self._exchange(link, request)
        except UpstreamError as error:
            # Safe to repeat only if not one octet of it can have been received.
            if error.failure is not Failure.BROKEN or link.stream.handed_over != before:
                raise
        link = await self._connect()
        return link, await self._exchange(link, request)

    async def _exchange(self, link: Link, request: httpcore.Request) -> httpcore.Response:
        """Send, and wait for the head of the answer; on any failure the connection is closed."""
        with _failures():
            async with asyncio.timeout(self.upstream.first_byte_seconds):
                return await link.http.handle_async_request(request)

    def _idle_link(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if not link.http.has_expired():
                return link
            link.stream.close()
        return None

    async def _connect(self) -> Link:
        try:
            stream = await connect(self.upstream, self._context)
        except httpcore.ConnectTimeout:
            raise UpstreamError(Failure.ABSENT) from None
        except httpcore.ConnectError:
            await asyncio.sleep(RETRY_AFTER_SECONDS)
            stream = await self._connect_again()
        return Link(httpcore.AsyncHTTP11Connection(ORIGIN, stream, IDLE_SECONDS), stream)

    async def _connect_again(self) -> SocketStream:
        try:
            return await connect(self.upstream, self._context)
        except (httpcore.ConnectTimeout, httpcore.ConnectError):
            raise UpstreamError(Failure.ABSENT) from None


async def warm_up() -> None:
    """Ask nobody something: what httpcore loads with its first request takes 15 ms.

    By so much would the first question be late, and whatever a worker has to send meanwhile.
    """
    nobody = httpcore.AsyncMockStream([b"HTTP/1.1 204 No Content\r\n\r\n"])
    await httpcore.AsyncHTTP11Connection(ORIGIN, nobody).request("GET", "http://upstream/")
