"""Requests to upstreams over HTTP/1.1, with deadlines, and connections that are kept."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.upstream.dialing import connect
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.chat.upstream.request import encode_post
from enclave_server.chat.upstream.response_body import body_of, keeps_connection
from enclave_server.chat.upstream.response_head import Head, HeadReader, ResponseError
from enclave_server.chat.upstream.stream import Stream
from enclave_server.chat.upstream.trust import ssl_context
from protocol.binary_http import Fields

# A kept connection is not used again after this; most servers keep theirs longer.
IDLE_SECONDS = 30.0

# An engine or a proxy that has just restarted listens again soon after.
RETRY_AFTER_SECONDS = 0.25

# An engine that has not stopped by then is stuck, and its end is somebody else's task.
STOP_SECONDS = 60.0

# For the end of a message of which all has been said.
END_SECONDS = 0.05

CLOSE = (b"Connection", b"close")


class Unanswered(UpstreamError):
    """A connection ended before any octet of a response arrived."""

    def __init__(self, *, sent: bool) -> None:
        """`sent` tells whether anything of the request was handed to the operating system."""
        super().__init__(Failure.BROKEN)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a response is waited for: its head, each silence of its body, and its end.

    The end is a time of the event loop's clock.
    """

    head_seconds: float
    idle_seconds: float | None
    end: float


@dataclass(slots=True)
class Counts:
    """What the connections to one upstream have done since they were made."""

    connected: int = 0
    reused: int = 0
    repeated: int = 0


class UpstreamResponse:
    """A response of which the head has arrived, whatever it says. Close it, whatever happens.

    `fields` are in the order of arrival, their names in lower case.
    """

    __slots__ = (
        "_body",
        "_closed",
        "_early",
        "_idle_timer",
        "_is_kept",
        "_release",
        "_stream",
        "_timer",
        "fields",
        "status",
    )

    def __init__(
        self,
        head: Head,
        early: bytes,
        stream: Stream,
        end: float,
        release: Callable[[Stream, bool], None],
        idle_seconds: float | None = None,
    ) -> None:
        """`early` are octets that came with the head; at `end` the event loop's clock gives up.

        So does it when nothing has arrived for `idle_seconds`. `release` takes the connection back,
        and whether the whole body was read.
        """
        self.status, self.fields = head.status, head.fields
        self._stream, self._release = stream, release
        self._body, self._is_kept = body_of(head), keeps_connection(head)
        self._early = self._body.feed(early)
        self._closed = False
        # One timer for the whole body: one for each piece costs more than reading the piece.
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        if not self._body.is_whole:
            self._timer = asyncio.get_running_loop().call_at(end, stream.expire)
            if idle_seconds is not None:
                self._watch(idle_seconds, stream.arrived)

    def _watch(self, seconds: float, arrived: int) -> None:
        """Give up after so many seconds if not one octet more than the `arrived` has come."""

        def look() -> None:
            if self._stream.arrived == arrived and not self._stream.has_untaken:
                self._stream.expire()
            else:
                self._watch(seconds, self._stream.arrived)

        self._idle_timer = asyncio.get_running_loop().call_later(seconds, look)

    async def read_up_to(self, limit: int) -> bytes:
        """Return the body, or its first `limit` octets and somewhat more; raises UpstreamError."""
        body = bytearray()
        while len(body) < limit and (piece := await self.next_piece()) is not None:
            body += piece
        return bytes(body)

    async def end(self) -> None:
        """Read what is left, for a moment: nobody needs it, but without it the connection is lost.

        After the last event of a stream only the end of the HTTP message is missing.
        """
        with contextlib.suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while await self.next_piece() is not None:
                    pass

    async def next_piece(self) -> bytes | None:
        """Return what arrives next of the body, or None at its end; raises UpstreamError."""
        while (piece := self._take(self._stream.take_arrived)) == b"":
            await self._stream.arrival()
        return piece

    def take(self) -> bytes | None:
        """Return what has arrived of the body, be it nothing; None at its end.

        Raises UpstreamError.
        """
        return self._take(self._stream.ask)

    def _take(self, arrived: Callable[[], bytes | None]) -> bytes | None:
        if self._early:
            piece, self._early = self._early, b""
            return piece
        if self._body.is_whole:
            return None
        try:
            return self._next(arrived)
        except TimeoutError:
            raise UpstreamError(Failure.SLOW) from None
        except (OSError, ResponseError):
            raise UpstreamError(Failure.BROKEN) from None

    def _next(self, arrived: Callable[[], bytes | None]) -> bytes | None:
        if self._body.is_broken:
            raise ResponseError
        if (data := arrived()) is None:
            return b""
        if not data:
            self._body.end()
            return None
        piece = self._body.feed(data)
        return None if self._body.is_whole and not piece else piece

    async def close(self) -> None:
        """Keep the connection if the whole response was read, else close it."""
        if self._closed:
            return
        self._closed = True
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        is_whole = self._body.is_whole
        if is_whole and (not self._is_kept or self._body.has_surplus):
            self._stream.close()
        self._release(self._stream, is_whole)


class UpstreamConnections:
    """All connections to one upstream: those `in_use` are counted, idle ones kept for reuse."""

    def __init__(self, upstream: Upstream, repeated: Callable[[], None] = lambda: None) -> None:
        """`repeated` is called for every request that a second connection was tried for."""
        self.upstream = upstream
        self.counts = Counts()
        self._context = ssl_context(upstream)
        self._repeated = repeated
        self._idle: list[tuple[Stream, float]] = []
        self._left: set[Stream] = set()  # given up, and not known to be ended at the upstream
        self.in_use = 0

    async def post(
        self, target: bytes, fields: Fields, body: bytes, *, is_stream: bool = False
    ) -> UpstreamResponse:
        """Return the response to a POST, whatever its status; raises UpstreamError.

        `fields` say all but the length of the body and whether the connection is kept. The head of
        what is no stream comes when all has been thought of, so that it may take the whole time.
        """
        if self.in_use >= self.upstream.concurrency:
            raise UpstreamError(Failure.BUSY, retry_after=1)
        if not self.upstream.idle_connections:
            fields = (*fields, CLOSE)
        request = encode_post(target, fields, body)
        self.in_use += 1
        try:
            return await self._ask(request, self._patience(is_stream=is_stream))
        except BaseException:
            self.in_use -= 1
            raise

    def release(self, stream: Stream, is_whole: bool) -> None:
        """Take back a connection after its exchange, to keep it if it is still open and quiet."""
        self.in_use -= 1
        if not is_whole:
            self._give_up(stream)
        elif stream.is_quiet() and len(self._idle) < self.upstream.idle_connections:
            self._idle.append((stream, asyncio.get_running_loop().time()))
            stream.rest(self._discard)
        else:
            stream.close()

    def close(self) -> None:
        """Close the idle connections, and those that were given up."""
        while self._idle:
            self._idle.pop()[0].close()
        for stream in list(self._left):
            stream.close()

    def _patience(self, *, is_stream: bool) -> Patience:
        upstream = self.upstream
        end = asyncio.get_running_loop().time() + upstream.total_seconds
        idle_seconds = upstream.idle_seconds if is_stream else None
        return Patience(upstream.head_seconds(is_stream=is_stream), idle_seconds, end)

    async def _ask(self, request: bytes, patience: Patience) -> UpstreamResponse:
        """Send `request`; if a kept connection ends unanswered, once more on a fresh one.

        A server closes an idle connection when it sees fit, and does not know that a request is on
        its way: if no octet of a response comes, it has most likely never read one of the request.
        RFC 9110, Section 9.2.2, lets a client repeat a POST that it knows to be safe to repeat.
        This one is: a completion changes nothing at an upstream, so that at the worst it thinks
        twice, and nobody hears what it thought first. A fresh connection was not idle; if that one
        ends unanswered, the upstream has failed at this very request, which is not repeated.
        """
        kept = self._idle_stream()
        try:
            return await self._exchange(kept or await self._connect(), request, patience)
        except Unanswered as closed:
            if kept is None and closed.sent:
                raise
            sent = closed.sent
        self.counts.repeated += 1
        self._repeated()
        fresh = await (self._connect_again() if sent else self._connect())
        return await self._exchange(fresh, request, patience)

    async def _exchange(
        self, stream: Stream, request: bytes, patience: Patience
    ) -> UpstreamResponse:
        """Send, and wait for the head of the response; on any failure the connection is closed."""
        loop = asyncio.get_running_loop()
        # Beyond the end a token that pays for the answer may be held for another.
        due = min(loop.time() + patience.head_seconds, patience.end)
        timer = loop.call_at(due, stream.expire)
        try:
            return await self._answered(stream, request, patience)
        except BaseException:
            self._give_up(stream)
            raise
        finally:
            timer.cancel()

    async def _answered(
        self, stream: Stream, request: bytes, patience: Patience
    ) -> UpstreamResponse:
        try:
            if not await stream.send_in_turns(request):
                raise Unanswered(sent=False)
            head, early = await _head_of_response(stream)
            release, idle = self.release, patience.idle_seconds
            return UpstreamResponse(head, early, stream, patience.end, release, idle)
        except TimeoutError:
            raise UpstreamError(Failure.SLOW) from None
        except (OSError, ResponseError):
            raise UpstreamError(Failure.BROKEN) from None

    def _give_up(self, stream: Stream) -> None:
        """Leave an exchange before its end; it counts for as long as the upstream says it works."""
        if not self.upstream.tells_its_end:
            stream.close()
            return
        timer = asyncio.get_running_loop().call_later(STOP_SECONDS, stream.close)

        def stopped() -> None:
            timer.cancel()
            self._left.discard(stream)
            self.in_use -= 1

        self._left.add(stream)
        self.in_use += 1
        stream.leave(stopped)

    def _idle_stream(self) -> Stream | None:
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            stream, since = self._idle.pop()
            if since >= oldest and stream.is_usable():
                self.counts.reused += 1
                return stream
            stream.close()
        return None

    def _discard(self, stream: Stream) -> None:
        """Close an idle connection on which anything arrives: it answers no request."""
        self._idle = [(idle, since) for idle, since in self._idle if idle is not stream]
        stream.close()

    async def _connect(self) -> Stream:
        try:
            return await self._dial()
        except TimeoutError:
            raise UpstreamError(Failure.ABSENT) from None
        except OSError:
            await asyncio.sleep(RETRY_AFTER_SECONDS)
        try:
            return await self._dial()
        except OSError:
            raise UpstreamError(Failure.ABSENT) from None

    async def _connect_again(self) -> Stream:
        try:
            return await self._connect()
        except UpstreamError:
            # It was there a moment ago, and may have begun to work on the request.
            raise UpstreamError(Failure.BROKEN) from None

    async def _dial(self) -> Stream:
        stream = await connect(self.upstream, self._context)
        self.counts.connected += 1
        return stream


async def _head_of_response(stream: Stream) -> tuple[Head, bytes]:
    """Return the head, and what came with it of the body.

    Raises Unanswered, OSError or ResponseError.
    """
    try:
        await stream.arrival()
        data = stream.take_arrived()
    except ConnectionError:
        data = b""
    if not data:
        raise Unanswered(sent=True)
    reader = HeadReader()
    while (head := reader.feed(data)) is None:
        await stream.arrival()
        if not (data := stream.take_arrived()):
            raise ResponseError
    return head, reader.rest
