"""One connection of outer HTTP: what arrives, whom it concerns, and a careful end.

A connection that just closes after an early answer makes the kernel send a reset, which can
destroy the answer before the peer reads it. So every end after an answer is the same: close our
side, go on reading within limits until the peer has closed its own (RFC 9112, Section 9.6).
"""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus

from enclave_server.http import problems
from enclave_server.http.accepting import Acceptor
from enclave_server.http.answering import AT_ONCE_BYTES, CLOSE, Exchange, Outlet
from enclave_server.http.budget import Admission, Budget, Share
from enclave_server.http.dates import CurrentDate
from enclave_server.http.limits import Limits
from enclave_server.http.messages import Headers, OuterResponse, Router
from enclave_server.http.phases import Due, Phase, Progress
from enclave_server.http.request_head import Head, Refused
from enclave_server.http.request_reader import RequestReader
from enclave_server.log import Log
from enclave_server.memory import Memory

# What one read may take from the kernel: large uploads need few turns of the event loop.
READ_BYTES = 64 * 1024


class Shared:
    """What the connections of one server have in common."""

    def __init__(
        self, router: Router, limits: Limits, log: Log, memory: Memory | None = None
    ) -> None:
        self.router = router
        self.limits = limits
        self.log = log
        self.budget = Budget(limits, memory)
        self.date = CurrentDate()
        self.loop: asyncio.AbstractEventLoop  # given when the server starts
        self.acceptor: Acceptor | None = None
        # Every read goes here first and is taken out before the next one.
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self.connections: set[Connection] = set()
        self.draining = False
        self.emptied = asyncio.Event()  # set when a connection has ended and none is left

    def relieve(self) -> None:
        """Accept again at once, if this was full and something has ended."""
        if self.acceptor is not None and not self.acceptor.has_room:
            self.acceptor.look()


class Connection(asyncio.BufferedProtocol):
    """Reads requests one after the other and writes their answers in the same order."""

    __slots__ = (
        "_ended",
        "_exchange",
        "_outlet",
        "_progress",
        "_reader",
        "_share",
        "_shared",
        "_task",
        "_transport",
    )

    _transport: asyncio.Transport
    _outlet: Outlet

    def __init__(self, shared: Shared, share: Share) -> None:
        """`share` is given back when the connection is lost."""
        self._shared = shared
        self._share = share
        self._reader = RequestReader(shared.limits)
        self._progress = Progress(shared.limits, shared.loop.time)
        self._exchange: Exchange | None = None  # the request being read or answered
        self._task: asyncio.Task[None] | None = None
        self._ended = False  # the peer has closed its sending side

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; answer 503 at once if there are too many."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        shared = self._shared
        self._transport = transport
        self._outlet = Outlet(transport, shared.date)
        shared.connections.add(self)
        if self._share.admission is Admission.REFUSED:
            self._refuse(problems.unavailable(shared.limits.retry_after_seconds))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer that all connections read into; see `buffer_updated`."""
        return self._shared.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has arrived, and act on it unless a request is being answered."""
        progress = self._progress
        progress.received += nbytes
        if progress.phase is Phase.LINGERING:
            if progress.received > self._shared.limits.linger_bytes:
                self._transport.abort()
            return
        self._reader.feed(self._shared.read_buffer[:nbytes])
        if progress.phase is not Phase.ANSWERING:
            self._advance()
        elif self._is_full():
            self._transport.pause_reading()  # pipelined requests can wait in the kernel

    def eof_received(self) -> bool:
        """Go on with what is running: the peer may have closed its sending side only."""
        self._ended = True
        if self._progress.phase is Phase.ANSWERING:
            self._schedule_probe()
        elif self._progress.phase in (Phase.HEAD, Phase.BODY):
            self._refuse(problems.problem(HTTPStatus.BAD_REQUEST))  # a truncated upload
        else:
            self._transport.close()
        return True

    def pause_writing(self) -> None:
        """Make the writer wait: the peer reads too slowly."""
        self._outlet.pause()

    def resume_writing(self) -> None:
        """Let the writer go on."""
        self._outlet.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back everything, and cancel the handler: nobody waits for its answer."""
        shared = self._shared
        shared.connections.discard(self)
        self._share.give_back()
        self._progress.enter(Phase.CLOSED)
        if self._task is not None:
            self._task.cancel()
        shared.relieve()
        if not shared.connections:
            shared.emptied.set()

    # What the server calls.

    def close_if_idle(self) -> None:
        """Close a connection on which nothing of a request has arrived."""
        if self._progress.phase is Phase.IDLE:
            self._transport.close()

    def abort(self) -> None:
        """End the connection, whatever it is doing."""
        self._transport.abort()

    def check_deadline(self, now: float) -> None:
        """End what has been in its phase for too long."""
        due = self._progress.overdue(now, self._transport.get_write_buffer_size())
        if due is Due.CLOSE:
            self._transport.close()
        elif due is Due.REFUSE:
            self._refuse(problems.problem(HTTPStatus.REQUEST_TIMEOUT))
        elif due is Due.ABORT:
            self._transport.abort()

    # From octets to a request.

    def _is_full(self) -> bool:
        """Whether enough has arrived while a request is being answered."""
        enough = self._shared.limits.head_bytes
        return self._progress.phase is Phase.ANSWERING and self._reader.held > enough

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
        elif self._exchange is not None and self._exchange.refusal is not None:
            self._refuse(self._exchange.refusal)  # before the upload has ended
        else:
            self._await_more()

    def _take_head(self, head: Head) -> None:
        shared = self._shared
        self._progress.received = self._reader.held
        found = shared.router(head.request)
        self._exchange = Exchange(head, found, self._outlet, shared.log)

    def _await_more(self) -> None:
        phase = self._progress.phase
        if self._ended:
            self._end_truncated()
        elif self._exchange is not None:
            if phase is not Phase.BODY:
                self._progress.enter(Phase.BODY)
            self._hold_upload(self._reader.held)
        elif not self._reader.between_requests:
            if phase is not Phase.HEAD:
                self._progress.enter(Phase.HEAD)
        elif phase is not Phase.IDLE:
            self._progress.enter(Phase.IDLE)

    def _hold_upload(self, octets: int) -> None:
        self._share.hold(octets)
        if not self._share.has_room(octets):
            self._refuse(problems.unavailable(self._shared.limits.retry_after_seconds))

    def _end_truncated(self) -> None:
        if self._reader.between_requests:
            self._transport.close()
        else:
            self._refuse(problems.problem(HTTPStatus.BAD_REQUEST))

    # From a request to its answer.

    def _begin(self, body: bytes) -> None:
        """Answer the request, at once or in a task; more of what arrives waits until it is done."""
        shared = self._shared
        exchange = self._exchange
        if exchange is None:
            raise RuntimeError("a body without a head")
        copies = shared.limits.body_copies * len(body)
        if not self._share.has_room(copies) or not self._share.has_turn():
            exchange.refusal = problems.unavailable(shared.limits.retry_after_seconds)
        kept = copies if exchange.refusal is None else len(body)
        self._share.hold(kept + self._reader.held)
        self._progress.enter(Phase.ANSWERING)
        answer = exchange.respond(body)
        if (
            isinstance(answer, OuterResponse)
            and isinstance(answer.body, bytes)
            and self._takes_at_once(len(answer.body))
        ):
            sent = exchange.write_whole(answer, answer.body, self._ending(exchange))
            self._count(exchange, answer, sent, self._progress.since)
            self._finish(exchange)
        else:
            self._task = shared.loop.create_task(self._answer(exchange, answer))
            shared.budget.tasks.add(self._task)

    def _takes_at_once(self, octets: int) -> bool:
        """Whether an answer can be written in the turn of the loop in which its request arrived.

        A task and its turn would cost 10 microseconds on one connection, 5 on many. The requests of
        a pipeline take them, so that one peer's many do not keep all others waiting.
        """
        return (
            octets <= AT_ONCE_BYTES
            and self._reader.between_requests
            and not self._transport.get_write_buffer_size()
        )

    async def _answer(
        self, exchange: Exchange, answer: OuterResponse | Awaitable[OuterResponse]
    ) -> None:
        shared = self._shared
        started = self._progress.since
        finished = False
        try:
            response = (
                answer if isinstance(answer, OuterResponse) else await exchange.settle(answer)
            )
            if isinstance(response.body, bytes):
                self._share.add(len(response.body))  # until the peer has taken it
            sent = await exchange.send(response, self._ending(exchange))
            self._count(exchange, response, sent, started)
            finished = True
        except Exception as error:  # an iterator failed; an answer that has begun can only end
            shared.log.event("answer_failed", kind=type(error).__name__)
        finally:
            if self._task is not None:
                shared.budget.tasks.discard(self._task)
                shared.relieve()
            self._task = None
            if not finished:
                self._give_up()
        if finished:
            self._finish(exchange)

    def _count(
        self, exchange: Exchange, response: OuterResponse, sent: int, started: float
    ) -> None:
        shared = self._shared
        elapsed = shared.loop.time() - started
        shared.log.request(response.route, response.status, exchange.received, sent, elapsed)
        shared.budget.answered += 1

    def _ending(self, exchange: Exchange) -> Headers:
        """Return the field that announces that the connection ends, if it does."""
        last = self._shared.draining or (self._ended and self._reader.between_requests)
        return CLOSE if last or not exchange.head.keep_alive else ()

    def _finish(self, exchange: Exchange) -> None:
        """Go on with the next request, or end the connection."""
        last = bool(self._ending(exchange))
        self._exchange = None
        self._share.hold(self._reader.held)
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
        if self._progress.phase is Phase.ANSWERING and self._exchange is not None:
            self._exchange.probe()
        self._schedule_probe()

    # From an answer to the end.

    def _refuse(self, response: OuterResponse) -> None:
        """Answer without waiting for the rest of the request, and end the connection."""
        body = response.body if isinstance(response.body, bytes) else b""
        method = self._exchange.head.request.method if self._exchange is not None else b""
        self._outlet.write_whole(response, body, CLOSE, method)
        received = self._progress.received
        self._shared.log.request(response.route, response.status, received, len(body), 0.0)
        self._linger()

    def _linger(self) -> None:
        """Close our side, and discard what still comes until the peer has closed its own."""
        self._reader = RequestReader(self._shared.limits)
        self._share.hold(0)
        self._progress.received = 0
        self._progress.enter(Phase.LINGERING)
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
        self._shared.budget.abandoned += 1
        if self._progress.phase is not Phase.CLOSED:
            self._share.hold(0)
            self._progress.enter(Phase.LINGERING)
            self._transport.close()
