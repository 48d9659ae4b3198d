"""One connection of outer HTTP: phases, deadlines, answers, and a careful end.

A connection that just closes after an early answer makes the kernel send a reset, which can
destroy the answer before the peer reads it. So every end after an answer is the same: close our
side, go on reading within limits until the peer has closed its own (RFC 9112, Section 9.6).
"""

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Awaitable
from email.utils import formatdate
from http import HTTPStatus

from enclave_server.http import problems
from enclave_server.http.limits import Limits
from enclave_server.http.messages import Handler, Headers, OuterRequest, OuterResponse, Router
from enclave_server.http.request_head import Head, Refused
from enclave_server.http.request_reader import RequestReader
from enclave_server.http.response_head import PROCESSING, encode_head
from enclave_server.http.transfer_coding import LAST_CHUNK, encode_chunk
from enclave_server.log import Log

# What one read may take from the kernel: large uploads need few turns of the event loop.
READ_BYTES = 64 * 1024

# What asyncio may keep of an answer that the kernel does not take; a writer waits above it.
WRITE_BUFFER_BYTES = 32 * 1024

# What asyncio takes of an answer without ever asking the writer to wait, if nothing else waits.
AT_ONCE_BYTES = WRITE_BUFFER_BYTES // 2

_CHUNKED = ((b"transfer-encoding", b"chunked"),)
_CLOSE = ((b"connection", b"close"),)


class Phase(enum.Enum):
    """Where a connection is; each phase has its own deadline."""

    IDLE = enum.auto()  # nothing of a request has arrived
    HEAD = enum.auto()  # some of a head has
    BODY = enum.auto()  # the head has, and not yet the whole body
    ANSWERING = enum.auto()  # the handler runs, or its answer is being written
    LINGERING = enum.auto()  # nothing more will be written; what arrives is discarded


class Shared:
    """What the connections of one server have in common."""

    def __init__(self, router: Router, limits: Limits, log: Log) -> None:
        self.router = router
        self.limits = limits
        self.log = log
        self.loop: asyncio.AbstractEventLoop  # given when the server starts
        # Every read goes here first and is taken out before the next one.
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()  # requests being answered
        self.refusing = 0  # connections above the limit, among `connections`
        self.held = 0  # octets of requests that are kept
        self.accepted = 0
        self.refused = 0
        self.answered = 0
        self.abandoned = 0
        self.draining = False
        self.emptied = asyncio.Event()  # set when a connection has ended and none is left
        self._date = b""
        self._date_second = -1

    def date(self) -> bytes:
        """Return the Date field value (RFC 9110, Section 6.6.1: an origin MUST send it)."""
        second = int(time.time())
        if second != self._date_second:
            self._date = formatdate(second, usegmt=True).encode()
            self._date_second = second
        return self._date


class Connection(asyncio.BufferedProtocol):
    """Reads requests one after the other and writes their answers in the same order."""

    __slots__ = (
        "_begun",
        "_ended",
        "_handler",
        "_head",
        "_held",
        "_phase",
        "_reader",
        "_received",
        "_refusal",
        "_refusing",
        "_shared",
        "_since",
        "_task",
        "_transport",
        "_unsent",
        "_writable",
    )

    _transport: asyncio.Transport

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._reader = RequestReader(shared.limits)
        self._phase = Phase.IDLE
        self._since = 0.0  # when the phase began, or progress was last seen in it
        self._received = 0  # octets since the head, or since lingering began
        self._held = 0  # our part of `shared.held`
        self._unsent = 0  # octets of answers not taken by the peer, when last looked at
        self._head: Head | None = None  # of the request being read or answered
        self._handler: Handler | None = None  # what answers it
        self._refusal: OuterResponse | None = None  # the answer to it, if its head decides
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None  # while the peer reads too slowly
        self._begun = False  # the answer has begun
        self._ended = False  # the peer has closed its sending side
        self._refusing = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or answer 503 at once if there are too many."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        shared = self._shared
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        shared.accepted += 1
        self._enter(Phase.IDLE)
        too_many = len(shared.connections) - shared.refusing >= shared.limits.connections
        shared.connections.add(self)
        if too_many:
            self._refuse_connection()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer that all connections read into; see `buffer_updated`."""
        return self._shared.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has arrived, and act on it unless a request is being answered."""
        self._received += nbytes
        if self._phase is Phase.LINGERING:
            if self._received > self._shared.limits.linger_bytes:
                self._transport.abort()
            return
        self._reader.feed(self._shared.read_buffer[:nbytes])
        if self._phase is not Phase.ANSWERING:
            self._advance()
        elif self._is_full():
            self._transport.pause_reading()  # pipelined requests can wait in the kernel

    def eof_received(self) -> bool:
        """Go on with what is running: the peer may have closed its sending side only."""
        self._ended = True
        if self._phase is Phase.ANSWERING:
            self._schedule_probe()
        elif self._phase in (Phase.HEAD, Phase.BODY):
            self._refuse(problems.problem(HTTPStatus.BAD_REQUEST))  # a truncated upload
        else:
            self._transport.close()
        return True

    def pause_writing(self) -> None:
        """Make the writer wait: the peer reads too slowly."""
        self._writable = self._shared.loop.create_future()

    def resume_writing(self) -> None:
        """Let the writer go on."""
        waiter, self._writable = self._writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back everything, and cancel the handler: nobody waits for its answer."""
        shared = self._shared
        shared.connections.discard(self)
        shared.refusing -= self._refusing
        self._hold(0)
        self._phase = Phase.LINGERING
        if self._task is not None:
            self._task.cancel()
        if not shared.connections:
            shared.emptied.set()

    # What the server calls.

    def close_if_idle(self) -> None:
        """Close a connection on which nothing of a request has arrived."""
        if self._phase is Phase.IDLE:
            self._transport.close()

    def abort(self) -> None:
        """End the connection, whatever it is doing."""
        self._transport.abort()

    def check_deadline(self, now: float) -> None:
        """End what has been in its phase for too long."""
        limits = self._shared.limits
        elapsed = now - self._since
        if self._phase is Phase.IDLE:
            if elapsed > limits.idle_seconds:
                self._transport.close()
        elif self._phase is Phase.HEAD:
            if elapsed > limits.head_seconds:
                self._refuse(problems.problem(HTTPStatus.REQUEST_TIMEOUT))
        elif self._phase is Phase.BODY:
            allowed = limits.body_grace_seconds + self._received / limits.body_bytes_per_second
            if elapsed > allowed:
                self._refuse(problems.problem(HTTPStatus.REQUEST_TIMEOUT))
        else:
            self._check_progress(now)

    def _check_progress(self, now: float) -> None:
        """End a connection whose peer does not read its answer, or does not close after it."""
        limits = self._shared.limits
        unsent = self._transport.get_write_buffer_size()
        waiting_for_handler = self._phase is Phase.ANSWERING and not unsent
        if waiting_for_handler or unsent != self._unsent:
            self._unsent = unsent
            self._since = now
        elif now - self._since > (limits.stall_seconds if unsent else limits.linger_seconds):
            self._transport.abort()

    # From octets to a request.

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since = self._shared.loop.time()

    def _is_full(self) -> bool:
        """Whether enough has arrived while a request is being answered."""
        enough = self._shared.limits.head_bytes
        return self._phase is Phase.ANSWERING and self._reader.held > enough

    def _has_room(self, octets: int) -> bool:
        """Whether this connection may hold so many: its own share always, and all if it is alone.

        So a few long requests cannot shut out the short ones.
        """
        limits = self._shared.limits
        others = self._shared.held - self._held
        fits = octets + others <= limits.buffered_bytes
        return fits or others == 0 or octets <= limits.buffered_bytes // limits.requests

    def _hold(self, octets: int) -> None:
        self._shared.held += octets - self._held
        self._held = octets

    def _advance(self) -> None:
        """Read on as far as the octets reach, at most to the end of one request."""
        try:
            event = self._reader.next_event()
            if isinstance(event, Head):
                self._take_head(event)
                event = self._reader.next_event()
        except Refused as refusal:
            self._refuse(problems.problem(refusal.status))
            return
        if isinstance(event, bytes):
            self._begin(event)
        elif self._refusal is not None:
            self._refuse(self._refusal)  # before the upload has ended
        else:
            self._await_more()

    def _take_head(self, head: Head) -> None:
        self._head = head
        self._received = self._reader.held
        found = self._shared.router(head.request)
        if isinstance(found, OuterResponse):
            self._refusal = found
        else:
            self._handler = found

    def _await_more(self) -> None:
        shared = self._shared
        if self._ended:
            self._end_truncated()
        elif self._head is not None:
            if self._phase is not Phase.BODY:
                self._enter(Phase.BODY)
            self._hold(self._reader.held)
            if not self._has_room(self._held):
                self._refuse(problems.unavailable(shared.limits.retry_after_seconds))
        elif not self._reader.between_requests:
            if self._phase is not Phase.HEAD:
                self._enter(Phase.HEAD)
        elif self._phase is not Phase.IDLE:
            self._enter(Phase.IDLE)

    def _end_truncated(self) -> None:
        if self._reader.between_requests:
            self._transport.close()
        else:
            self._refuse(problems.problem(HTTPStatus.BAD_REQUEST))

    # From a request to its answer.

    def _begin(self, body: bytes) -> None:
        """Answer the request, at once or in a task; more of what arrives waits until it is done."""
        shared = self._shared
        head = self._head
        if head is None:
            raise RuntimeError("a body without a head")
        copies = shared.limits.body_copies * len(body)
        if not self._has_room(copies) or len(shared.tasks) >= shared.limits.requests:
            self._refusal = problems.unavailable(shared.limits.retry_after_seconds)
        self._hold((len(body) if self._refusal is not None else copies) + self._reader.held)
        self._begun = False
        self._enter(Phase.ANSWERING)
        answer = self._respond(head.request, body)
        if (
            isinstance(answer, OuterResponse)
            and isinstance(answer.body, bytes)
            and self._takes_at_once(len(answer.body))
        ):
            self._write_whole(answer, answer.body, self._ending(head))
            self._count(answer, len(body), len(answer.body), self._since)
            self._finish(head)
        else:
            self._task = shared.loop.create_task(self._answer(head, len(body), answer))
            shared.tasks.add(self._task)

    def _respond(
        self, outer: OuterRequest, body: bytes
    ) -> OuterResponse | Awaitable[OuterResponse]:
        if self._refusal is not None:
            return self._refusal
        if self._handler is None:
            raise RuntimeError("a head without a handler")
        request = OuterRequest(outer.method, outer.path, outer.query, outer.headers, body)
        try:
            return self._handler(request)
        except Exception as error:
            return self._failure(error)

    def _failure(self, error: Exception) -> OuterResponse:
        """Return the answer after a fault of ours: it ends one request and shows no text."""
        self._shared.log.event("handler_failed", kind=type(error).__name__)
        return problems.problem(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _takes_at_once(self, octets: int) -> bool:
        """Whether an answer can be written in the turn of the loop in which its request arrived.

        A task and its turn would cost 10 microseconds on one connection, 5 on many. The requests of
        a pipeline take them, so that one peer's many do not keep all others waiting.
        """
        between_requests = self._reader.between_requests
        return (
            between_requests
            and octets <= AT_ONCE_BYTES
            and not self._transport.get_write_buffer_size()
        )

    async def _answer(
        self, head: Head, received: int, answer: OuterResponse | Awaitable[OuterResponse]
    ) -> None:
        shared = self._shared
        started = self._since
        finished = False
        try:
            response = answer if isinstance(answer, OuterResponse) else await self._settle(answer)
            sent = await self._send(head, response)
            self._count(response, received, sent, started)
            finished = True
        except Exception as error:  # an iterator failed; an answer that has begun can only end
            shared.log.event("answer_failed", kind=type(error).__name__)
        finally:
            if self._task is not None:
                shared.tasks.discard(self._task)
            self._task = None
            if not finished:
                shared.abandoned += 1
                self._give_up()
        if finished:
            self._finish(head)

    async def _settle(self, answer: Awaitable[OuterResponse]) -> OuterResponse:
        try:
            return await answer
        except Exception as error:
            return self._failure(error)

    def _count(self, response: OuterResponse, received: int, sent: int, started: float) -> None:
        shared = self._shared
        elapsed = shared.loop.time() - started
        shared.log.request(response.route, response.status, received, sent, elapsed)
        shared.answered += 1

    async def _send(self, head: Head, response: OuterResponse) -> int:
        """Write the answer, as fast as the peer reads it; return the octets of its body."""
        if isinstance(response.body, bytes):
            self._write_whole(response, response.body, self._ending(head))
            sent = len(response.body)
        else:
            sent = await self._write_stream(head, response, response.body)
        if self._writable is not None:
            await self._writable
        return sent

    def _ending(self, head: Head) -> Headers:
        """Return the field that announces that the connection ends, if it does."""
        last = self._shared.draining or (self._ended and self._reader.between_requests)
        return _CLOSE if last or not head.keep_alive else ()

    def _write_whole(self, response: OuterResponse, body: bytes, ending: Headers) -> None:
        # One write: the peer gets head and body in one segment, the loop makes one call.
        self._begun = True
        data = encode_head(
            response.status,
            (
                *response.headers,
                (b"date", self._shared.date()),
                (b"content-length", b"%d" % len(body)),
                *ending,
            ),
        )
        # RFC 9110, Section 9.3.2: the answer to HEAD MUST NOT have content.
        if self._head is None or self._head.request.method != b"HEAD":
            data += body
        self._transport.write(data)

    async def _write_stream(
        self, head: Head, response: OuterResponse, body: AsyncIterator[bytes]
    ) -> int:
        # RFC 9112, Section 6.1: no transfer coding to an HTTP/1.0 peer; the end of the
        # connection is the end of the body.
        chunked = head.version != b"1.0"
        framing = (*_CHUNKED, *self._ending(head)) if chunked else _CLOSE
        fields = (*response.headers, (b"date", self._shared.date()), *framing)
        unsent = encode_head(response.status, fields)  # goes with the first item
        sent = 0
        try:
            async for item in body:
                if not item:
                    continue
                self._begun = True
                self._transport.write(unsent + (encode_chunk(item) if chunked else item))
                unsent = b""
                sent += len(item)
                if self._writable is not None:
                    await self._writable
        finally:
            await _close_iterator(body)
        self._begun = True
        self._transport.write(unsent + (LAST_CHUNK if chunked else b""))
        return sent

    def _finish(self, head: Head) -> None:
        """Go on with the next request, or end the connection."""
        last = bool(self._ending(head))
        self._head = None
        self._refusal = None
        self._hold(self._reader.held)
        if self._transport.is_closing():
            return
        if last:
            self._linger()
            return
        self._advance()
        if not self._is_full() and not self._transport.is_reading():
            self._transport.resume_reading()

    def _schedule_probe(self) -> None:
        self._shared.loop.call_later(self._shared.limits.probe_seconds, self._probe)

    def _probe(self) -> None:
        """Write an interim answer, so that a peer that is gone is noticed by the failure.

        The end of what a peer sends looks the same whether it has gone or waits for its answer.
        """
        if self._transport.is_closing():
            return
        waiting = self._phase is Phase.ANSWERING and not self._begun
        # RFC 9110, Section 15.2: a server MUST NOT send a 1xx response to an HTTP/1.0 client.
        if waiting and self._head is not None and self._head.version != b"1.0":
            self._transport.write(PROCESSING)
        self._schedule_probe()

    # From an answer to the end.

    def _refuse_connection(self) -> None:
        shared = self._shared
        shared.refused += 1
        shared.refusing += 1
        self._refusing = True
        if shared.refusing > shared.limits.refusals:
            self._transport.abort()
        else:
            self._refuse(problems.unavailable(shared.limits.retry_after_seconds))

    def _refuse(self, response: OuterResponse) -> None:
        """Answer without waiting for the rest of the request, and end the connection."""
        body = response.body if isinstance(response.body, bytes) else b""
        self._write_whole(response, body, _CLOSE)
        self._shared.log.request(response.route, response.status, self._received, len(body), 0.0)
        self._linger()

    def _linger(self) -> None:
        """Close our side, and discard what still comes until the peer has closed its own."""
        self._reader = RequestReader(self._shared.limits)
        self._hold(0)
        self._received = 0
        self._enter(Phase.LINGERING)
        if self._ended:
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the peer has gone already
            self._transport.abort()
            return
        if not self._transport.is_reading():
            self._transport.resume_reading()

    def _give_up(self) -> None:
        """End the connection without the end of an answer, so that it shows as truncated."""
        self._hold(0)
        self._enter(Phase.LINGERING)
        self._transport.close()


async def _close_iterator(body: AsyncIterator[bytes]) -> None:
    """Let a generator that is not exhausted release what it holds, now."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
