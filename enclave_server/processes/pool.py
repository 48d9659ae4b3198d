"""The worker processes: forked, told of keys, watched, replaced, ended.

A worker and its parent share a socket pair that keeps messages apart. The parent sends snapshots,
each with a serial number; the worker answers with the number once it serves with them, the first
time when it accepts connections. What it sends that is no number is a proposal, on which its parent
decides with the next snapshot. A worker that does not answer in time is killed and replaced, so
that none goes on with keys that ended; so is one whose heart stops: it says its number again as
long as its event loop turns. The end of a worker is the end of its socket, and its parent's end
kills it.
"""

import contextlib
import math
import os
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from enclave_server.gateway.standing import Standing
from enclave_server.hardening import blocked_signals, end_with_parent
from enclave_server.keys.ring import KeySet
from enclave_server.log import Log
from enclave_server.processes.snapshot import Snapshot, encode_snapshot
from enclave_server.provision.proposal import MAX_PROPOSAL_BYTES, Proposal

ACKNOWLEDGE_SECONDS = 10.0
"""For a worker to begin to serve with new keys: it is busy for less unless it hangs."""

BEAT_SECONDS = 0.5
"""Between two beats of a worker's heart."""

SILENT_SECONDS = 10.0
"""Without a beat the worker hangs: the longest request that is read at once takes less, even on a
machine that is several times busier than it should be. No two are: see `chat.turns`."""

FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.1, 4.0
"""Before a worker is replaced that ended soon after its start; doubled each time.

With the silence before it, less than the patience of the probe that ends an enclave and its keys.
"""

HEALTHY_SECONDS = 30.0
"""A worker that lived this long is replaced at once."""

EXIT_FAILED = 70
SERIAL = struct.Struct("!Q")

Run = Callable[[int, socket.socket], int]
"""Serves as the worker of this number until told to end; returns the exit status."""


@dataclass(slots=True)
class Worker:
    """A living worker process, seen from its parent; times are of a monotonic clock."""

    pid: int
    channel: socket.socket
    born: float
    sent: int = 0
    sent_at: float = 0.0
    acknowledged: int = 0
    beaten_at: float | None = None
    doomed: bool = False

    def send(self, serial: int, snapshot: bytes, now: float) -> None:
        """Pass on a snapshot; a worker that cannot take it is killed when its time is over."""
        self.sent, self.sent_at = serial, now
        try:
            self.channel.send(snapshot)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return

    def receive(self, now: float) -> list[bytes]:
        """Note what the worker has acknowledged, and its heart; return what it proposes."""
        proposals: list[bytes] = []
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while message := self.channel.recv(MAX_PROPOSAL_BYTES):
                if len(message) == SERIAL.size:
                    self.acknowledged, self.beaten_at = SERIAL.unpack(message)[0], now
                else:
                    proposals.append(message)
        return proposals

    def fault(self, now: float) -> str | None:
        """Return what is wrong with the worker: it has not begun with the newest keys, or hangs."""
        if self.acknowledged < self.sent and now - self.sent_at > ACKNOWLEDGE_SECONDS:
            return "worker_late"
        if self.beaten_at is not None and now - self.beaten_at > SILENT_SECONDS:
            return "worker_silent"
        return None

    def excuse(self, seconds: float) -> None:
        """Pass over a time in which nobody listened."""
        if self.beaten_at is not None:
            self.beaten_at += seconds

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: the process is not reaped yet, so the identifier is still its own."""
        os.kill(self.pid, number)


@dataclass(slots=True)
class _Place:
    """One of the pool's workers, and when it may be replaced once it has ended."""

    worker: Worker | None = None
    due: float = -math.inf
    backoff: float = FIRST_BACKOFF_SECONDS
    failures: int = field(default=0)


class Pool:
    """A fixed number of workers that serve with the same keys."""

    def __init__(self, size: int, run: Run, log: Log) -> None:
        self._places = [_Place() for _ in range(size)]
        self._run = run
        self._log = log
        self._serial = 0
        self._snapshot = b""
        self._proposals: list[bytes] = []
        self._watched_at: float | None = None

    @property
    def workers(self) -> list[Worker]:
        """The workers that are alive."""
        return [place.worker for place in self._places if place.worker is not None]

    @property
    def settled(self) -> bool:
        """Whether all workers are there and serve with the newest keys."""
        workers = self.workers
        return len(workers) == len(self._places) and all(
            worker.acknowledged == self._serial for worker in workers
        )

    @property
    def failures(self) -> int:
        """How often in a row a worker ended before it served, at the place where it is worst."""
        return max(place.failures for place in self._places)

    def publish(
        self,
        keys: KeySet,
        now: float,
        provisioned: Proposal | None = None,
        standing: Standing | None = None,
    ) -> None:
        """Have every worker, present and future, serve with `keys` and what was `provisioned`."""
        self._serial += 1
        self._snapshot = encode_snapshot(Snapshot(self._serial, keys, provisioned, standing))
        for worker in self.workers:
            worker.send(self._serial, self._snapshot, now)

    def tend(self, now: float) -> None:
        """Read answers, kill who is late or silent, bury who ended, and fork who is missing."""
        self._excuse_absence(now)
        for number, place in enumerate(self._places):
            if place.worker is not None:
                self._watch(number, place, place.worker, now)
            if place.worker is None and now >= place.due:
                place.worker = self._fork(number, now)

    def take_proposals(self) -> list[bytes]:
        """Return what workers have proposed since the last call, in the order of their arrival."""
        proposals, self._proposals = self._proposals, []
        return proposals

    def watch(self, now: float) -> None:
        """Do as `tend` does, but replace nobody."""
        self._excuse_absence(now)
        for number, place in enumerate(self._places):
            if place.worker is not None:
                self._watch(number, place, place.worker, now)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every worker."""
        for worker in self.workers:
            worker.signal(number)

    def forget(self) -> None:
        """Drop keys and sockets: this process is a worker itself now."""
        self._snapshot = b""
        self._proposals.clear()
        for worker in self.workers:
            # The end of a sibling's parent must be the end of its socket.
            worker.channel.close()

    def _excuse_absence(self, now: float) -> None:
        """Blame no worker for a time in which this process, or the whole machine, stood still."""
        if self._watched_at is not None and now - self._watched_at > BEAT_SECONDS:
            for worker in self.workers:
                worker.excuse(now - self._watched_at)
        self._watched_at = now

    def _watch(self, number: int, place: _Place, worker: Worker, now: float) -> None:
        self._proposals += worker.receive(now)
        if worker.acknowledged:
            place.failures = 0
        if not worker.doomed and (fault := worker.fault(now)) is not None:
            worker.doomed = True  # it may take a moment to end, and is told of once
            self._log.event(fault, worker=number, pid=worker.pid)
            worker.signal(signal.SIGKILL)
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if pid:
            self._bury(number, place, worker, os.waitstatus_to_exitcode(status), now)

    def _bury(self, number: int, place: _Place, worker: Worker, code: int, now: float) -> None:
        self._proposals += worker.receive(now)
        worker.channel.close()
        place.worker = None
        place.failures = 0 if worker.acknowledged else place.failures + 1
        if now - worker.born >= HEALTHY_SECONDS:
            place.backoff = FIRST_BACKOFF_SECONDS
            place.due = now
        else:
            place.due = now + place.backoff
            place.backoff = min(2 * place.backoff, LONGEST_BACKOFF_SECONDS)
        self._log.event("worker_ended", worker=number, pid=worker.pid, exit=code)

    def _fork(self, number: int, now: float) -> Worker:
        parent = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with blocked_signals():
            pid = os.fork()
            if pid == 0:
                _be_worker(lambda: self._enter(parent, number, ours, theirs))
        theirs.close()
        ours.setblocking(False)
        worker = Worker(pid, ours, now)
        worker.send(self._serial, self._snapshot, now)
        self._log.event("worker_started", worker=number, pid=pid)
        return worker

    def _enter(self, parent: int, number: int, ours: socket.socket, theirs: socket.socket) -> int:
        end_with_parent(parent)
        ours.close()
        self.forget()
        return self._run(number, theirs)


def _be_worker(enter: Callable[[], int]) -> None:
    """End the process with what `enter` returns: nothing of the parent's stack may run again."""
    status = EXIT_FAILED
    try:
        status = enter()
    finally:
        os._exit(status)
