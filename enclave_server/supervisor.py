"""The parent process: it keeps keys and evidence, the workers and the embedded engine.

It answers no request and runs no event loop, so that it can fork at any time: a loop over what is
due, woken by signals, by its workers' messages and a few times a second.
"""

import contextlib
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from enclave_server.clock import check_clock, ptp_time
from enclave_server.keeper import KeyKeeper
from enclave_server.log import Log
from enclave_server.pool import Pool

TICK_SECONDS = 0.25
"""How late anything may be that is due by the clock and announced by nothing else."""

CLOCK_SECONDS = 60.0
"""Between comparisons with the hypervisor's clock."""

KILL_SECONDS = 2.0
"""After the grace time, for workers to end by themselves."""

MAX_FAILURES = 5
"""Workers that end one after the other before one serves: the server gives up."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class WorkersFail(Exception):
    """Workers end before they serve, again and again."""


class Engine(Protocol):
    """The process of the embedded model, as the supervisor sees it."""

    def poll(self) -> None:
        """Replace the process if it has ended."""

    def stop(self) -> None:
        """End the process."""


class Supervisor:
    """Runs a server until it is told to end."""

    def __init__(
        self, keeper: KeyKeeper, engine: Engine | None, log: Log, *, grace_seconds: float
    ) -> None:
        self._keeper = keeper
        self._engine = engine
        self._log = log
        self._grace = grace_seconds
        self._stops = 0
        self._clock_due = 0.0
        self._was_failing = False

    def forget(self) -> None:
        """Drop all private keys: this process is a worker now."""
        self._keeper.forget()

    def serve(self, pool: Pool, on_ready: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Keep `pool` serving until SIGTERM or SIGINT; raises ClockError, WorkersFail.

        `on_ready` is called once, when all workers accept connections; `on_end` before they drain.
        """
        with self._signals() as wakeup:
            try:
                self._loop(pool, wakeup, on_ready)
            finally:
                on_end()
                self._end(pool, wakeup)

    def _loop(self, pool: Pool, wakeup: socket.socket, on_ready: Callable[[], None]) -> None:
        pool.publish(self._keeper.keys, time.monotonic())
        was_ready = False
        while not self._stops:
            pool.tend(time.monotonic())
            if pool.settled and not was_ready:
                was_ready = True
                on_ready()
            if not was_ready and pool.failures >= MAX_FAILURES:
                raise WorkersFail
            self._keep_keys(pool)
            self._check_clock(time.monotonic())
            if self._engine is not None:
                self._engine.poll()
            _wait(pool, wakeup)

    def _keep_keys(self, pool: Pool) -> None:
        if self._keeper.step(time.time(), settled=pool.settled):
            pool.publish(self._keeper.keys, time.monotonic())
        failure = self._keeper.failure
        if failure is not None and not self._was_failing:
            self._log.event("evidence_failed", code=failure.code)
        self._was_failing = failure is not None

    def _check_clock(self, now: float) -> None:
        if now < self._clock_due:
            return
        self._clock_due = now + CLOCK_SECONDS
        reference = ptp_time()
        if reference is not None:
            check_clock(time.time(), {"PTP device": reference})

    def _end(self, pool: Pool, wakeup: socket.socket) -> None:
        """Let the workers finish, and end what is left after the grace time, or a second signal."""
        self._log.event("stopping", workers=len(pool.workers))
        pool.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace + KILL_SECONDS
        pool.watch(time.monotonic())
        while pool.workers and time.monotonic() < deadline and self._stops < 2:
            _wait(pool, wakeup)
            pool.watch(time.monotonic())
        pool.signal(signal.SIGKILL)
        while pool.workers:
            _wait(pool, wakeup)
            pool.watch(time.monotonic())
        if self._engine is not None:
            self._engine.stop()
        self._log.event("stopped")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Count signals to end, and yield the socket that any signal makes readable."""
        wakeup, written = socket.socketpair()
        wakeup.setblocking(False)
        written.setblocking(False)
        before = {number: signal.signal(number, self._stop) for number in STOP_SIGNALS}
        # The end of a child has no meaning of its own here: it only ends the waiting.
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        descriptor = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        try:
            yield wakeup
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before.items():
                signal.signal(number, handler)
            wakeup.close()
            written.close()


def _wait(pool: Pool, wakeup: socket.socket) -> None:
    channels = [worker.channel for worker in pool.workers]
    select.select([wakeup, *channels], [], [], TICK_SECONDS)
    with contextlib.suppress(BlockingIOError):
        wakeup.recv(4096)
