"""Connections of outer HTTP, on asyncio, over an injected listening socket."""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from enclave_server.http.accepting import Acceptor
from enclave_server.http.budget import Admission, Share
from enclave_server.http.connection import Connection, Shared
from enclave_server.http.limits import Limits
from enclave_server.http.messages import OuterRequest, OuterResponse, Router
from enclave_server.http.rooms import Room, alone
from enclave_server.log import Log
from enclave_server.memory import Memory

__all__ = ["Counters", "OuterRequest", "OuterResponse", "Router", "Server"]

# How often the log tells what happened, in seconds.
REPORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Counters:
    """What the server holds now and has seen since its start."""

    connections: int
    requests: int
    buffered_bytes: int
    accepted: int
    refused: int
    answered: int
    abandoned: int


class Server:
    """Accepts connections and brings each whole request to its handler."""

    def __init__(
        self,
        listener: socket.socket,
        router: Router,
        limits: Limits,
        log: Log,
        memory: Memory | None = None,
        room: Room | None = None,
    ) -> None:
        """Take over `listener`; nothing is accepted before `start`.

        `room` is what this worker and its siblings tell each other, if it has any.
        """
        self._listener = listener
        self._log = log
        self._room = room or alone()
        self._shared = Shared(router, limits, log, memory)
        # Deadlines are looked at together: one timer a server, not one or more a request.
        self._sweep_seconds = min(
            1.0,
            limits.head_seconds / 4,
            limits.body_grace_seconds / 4,
            limits.idle_seconds / 4,
            limits.linger_seconds / 4,
            limits.stall_seconds / 4,
        )
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._next_report: float  # given when the server starts

    @property
    def counters(self) -> Counters:
        """Return the figures of this moment."""
        budget = self._shared.budget
        return Counters(
            connections=budget.connections,
            requests=len(budget.tasks),
            buffered_bytes=budget.held,
            accepted=budget.accepted,
            refused=budget.refused,
            answered=budget.answered,
            abandoned=budget.abandoned,
        )

    async def start(self) -> None:
        """Begin to accept connections."""
        loop, shared = asyncio.get_running_loop(), self._shared
        shared.loop = loop
        loop.set_exception_handler(self._report_failure)
        shared.acceptor = Acceptor(self._listener, self._take, shared.budget, self._room, self._log)
        shared.acceptor.start()
        self._next_report = loop.time() + REPORT_SECONDS
        self._sweep(loop)

    async def drain(self, grace_seconds: float) -> None:
        """Stop accepting, finish what is running within the time, end everything else."""
        shared = self._shared
        shared.draining = True
        if shared.acceptor is not None:
            shared.acceptor.close()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in list(shared.connections):
            connection.close_if_idle()
        if shared.connections:
            shared.emptied.clear()
            try:
                await asyncio.wait_for(shared.emptied.wait(), grace_seconds)
            except TimeoutError:
                await self._abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._log.report()

    def _take(self, accepted: socket.socket) -> None:
        share = self._shared.budget.admit()
        if share.admission is Admission.DROPPED:
            share.give_back()
            accepted.close()
            return
        task = self._shared.loop.create_task(self._connect(accepted, share))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: socket.socket, share: Share) -> None:
        shared = self._shared
        try:
            await shared.loop.connect_accepted_socket(lambda: Connection(shared, share), accepted)
        except OSError:  # it is gone before it has begun
            share.give_back()
            accepted.close()

    async def _abort(self) -> None:
        """End every connection now, and wait for the handlers that this cancels."""
        tasks = list(self._shared.budget.tasks)
        for connection in list(self._shared.connections):
            connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._shared.connections):
            connection.check_deadline(now)
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            self._log.report()
        self._sweeper = loop.call_later(self._sweep_seconds, self._sweep, loop)

    def _report_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a failure that nobody awaits, without asyncio's text: it can quote what arrived."""
        self._log.event("loop_failed", kind=type(context.get("exception")).__name__)
