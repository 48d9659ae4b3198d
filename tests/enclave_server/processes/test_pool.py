"""Tests of forked workers, with workers that only acknowledge what they are sent."""

import contextlib
import io
import json
import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enclave_server.keys.ring import KeySet
from enclave_server.log import Log
from enclave_server.processes.pool import (
    ACKNOWLEDGE_SECONDS,
    BEAT_SECONDS,
    FIRST_BACKOFF_SECONDS,
    HEALTHY_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    SERIAL,
    SILENT_SECONDS,
    Pool,
    Run,
    Worker,
    _be_worker,
)
from enclave_server.processes.snapshot import MAX_SNAPSHOT_BYTES, decode_snapshot
from enclave_server.processes.supervisor import TICK_SECONDS as SUPERVISOR_TICK_SECONDS
from host_proxy.addresses import Vsock
from host_proxy.options import Options
from tests.enclave_server.keys.test_ring import SIGNING_KEYS, made_key_set

DEADLINE = 120.0
DEPLOY = Path(__file__).parents[3] / "scripts" / "deploy"


def acknowledge(number: int, channel: socket.socket) -> int:
    """Be a worker that takes every key set until its parent closes the channel."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    while message := channel.recv(MAX_SNAPSHOT_BYTES):
        snapshot = decode_snapshot(message, SIGNING_KEYS)
        channel.send(SERIAL.pack(snapshot.serial))
    return 0


def tend_until(pool: Pool, condition: Callable[[], bool], ahead: float = 0.0) -> None:
    """Tend until `condition` holds, by a clock that is `ahead` seconds fast."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        select.select([worker.channel for worker in pool.workers], [], [], 0.01)
        pool.tend(time.monotonic() + ahead)


@contextlib.contextmanager
def running(size: int, run: Run = acknowledge, log: Log | None = None) -> Iterator[Pool]:
    pool = Pool(size, run, log or Log(io.StringIO()))
    pool.publish(made_key_set(), time.monotonic())
    try:
        yield pool
    finally:
        pool.signal(signal.SIGKILL)
        while pool.workers:
            pool.watch(time.monotonic())


def pids(pool: Pool) -> list[int]:
    return [worker.pid for worker in pool.workers]


def test_workers_settle_with_each_key_set() -> None:
    with running(3) as pool:
        assert not pool.settled
        tend_until(pool, lambda: pool.settled)
        pool.publish(made_key_set(), time.monotonic())
        assert not pool.settled
        tend_until(pool, lambda: pool.settled)
        assert len(set(pids(pool))) == 3


def test_a_worker_without_keys_ends() -> None:
    pool = Pool(1, acknowledge, Log(io.StringIO()))
    tend_until(pool, lambda: pool.failures > 0)
    assert not pool.settled
    pool.signal(signal.SIGKILL)
    while pool.workers:
        pool.watch(time.monotonic())


def test_a_worker_that_ended_is_replaced_and_gets_the_newest_keys() -> None:
    with running(2) as pool:
        tend_until(pool, lambda: pool.settled)
        first, second = pids(pool)
        pool.publish(made_key_set(), time.monotonic())
        os.kill(first, signal.SIGKILL)
        tend_until(pool, lambda: first not in pids(pool))
        tend_until(pool, lambda: pool.settled)
        assert second in pids(pool)
        assert pool.failures == 0


def test_a_worker_that_hangs_with_old_keys_is_replaced() -> None:
    with running(1) as pool:
        tend_until(pool, lambda: pool.settled)
        (hanging,) = pids(pool)
        os.kill(hanging, signal.SIGSTOP)
        pool.publish(made_key_set(), time.monotonic())
        pool.tend(time.monotonic())
        assert pids(pool) == [hanging]
        tend_until(pool, lambda: pool.settled, ahead=ACKNOWLEDGE_SECONDS + 1)
        assert pids(pool) != [hanging]


def test_who_takes_its_time_to_end_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    with running(1, log=Log(told)) as pool:
        tend_until(pool, lambda: pool.settled)
        (hanging,) = pids(pool)
        os.kill(hanging, signal.SIGSTOP)
        now = time.monotonic()
        pool.publish(made_key_set(), now)
        with monkeypatch.context() as patched:
            patched.setattr(os, "waitpid", lambda pid, flags: (0, 0))  # it has not ended yet
            for later in range(1, 4):
                pool.tend(now + ACKNOWLEDGE_SECONDS + later)
        assert told.getvalue().count("worker_late") == 1
        tend_until(pool, lambda: hanging not in pids(pool))
    assert told.getvalue().count("worker_ended") >= 1


def test_a_worker_begins_without_fault_and_without_a_heart() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours, theirs:
        worker = Worker(1, ours, 100.0)
        assert worker.fault(10_000.0) is None  # it has been sent nothing, and has said nothing
        worker.excuse(5.0)
        assert worker.fault(10_000.0) is None
        worker.send(1, b"snapshot", 100.0)
        assert theirs.recv(100) == b"snapshot"
        assert worker.fault(100.0 + ACKNOWLEDGE_SECONDS) is None
        assert worker.fault(100.1 + ACKNOWLEDGE_SECONDS) == "worker_late"
        theirs.send(b"a proposal")
        theirs.send(SERIAL.pack(1))
        assert worker.receive(103.0) == [b"a proposal"]
        assert (worker.acknowledged, worker.beaten_at) == (1, 103.0)
        assert worker.fault(103.0 + SILENT_SECONDS) is None
        assert worker.fault(103.1 + SILENT_SECONDS) == "worker_silent"
        worker.excuse(1.0)
        assert worker.fault(103.1 + SILENT_SECONDS) is None


def beat(number: int, channel: socket.socket) -> int:
    """Be a worker whose heart beats until its parent closes the channel."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    serial = SERIAL.pack(decode_snapshot(channel.recv(MAX_SNAPSHOT_BYTES), SIGNING_KEYS).serial)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            channel.send(serial)
            time.sleep(0.01)
    return 0


def tend_for(pool: Pool, now: float, seconds: float) -> None:
    """Tend as often as the supervisor does in so many seconds of a clock that runs by itself."""
    steps = round(seconds / (BEAT_SECONDS / 2))
    for step in range(steps + 1):
        pool.tend(now + step * BEAT_SECONDS / 2)


def test_a_worker_whose_heart_stops_is_replaced_without_new_keys() -> None:
    with running(1, beat) as pool:
        tend_until(pool, lambda: pool.settled and pool.workers[0].beaten_at is not None)
        (hanging,) = pids(pool)
        os.kill(hanging, signal.SIGSTOP)
        now = time.monotonic()
        tend_for(pool, now, SILENT_SECONDS - 3 * BEAT_SECONDS)
        assert pids(pool) == [hanging]
        tend_for(pool, now + SILENT_SECONDS - 3 * BEAT_SECONDS, 4 * BEAT_SECONDS)
        tend_until(pool, lambda: hanging not in pids(pool))
        tend_until(pool, lambda: pool.settled)


def test_no_worker_is_blamed_while_nobody_listened() -> None:
    with running(1, beat) as pool:
        tend_until(pool, lambda: pool.settled and pool.workers[0].beaten_at is not None)
        (stopped,) = pids(pool)
        os.kill(stopped, signal.SIGSTOP)  # as the whole machine was, this process included
        pool.tend(time.monotonic() + 100 * SILENT_SECONDS)
        os.kill(stopped, signal.SIGCONT)
        heard = pool.workers[0].beaten_at
        tend_until(pool, lambda: pool.workers[0].beaten_at != heard, ahead=100 * SILENT_SECONDS)
        assert pids(pool) == [stopped]


def test_many_key_sets_that_nobody_takes_block_nobody() -> None:
    with running(1) as pool:
        tend_until(pool, lambda: pool.settled)
        os.kill(pids(pool)[0], signal.SIGSTOP)
        keys: KeySet = made_key_set()
        for _ in range(500):
            pool.publish(keys, time.monotonic())
        assert not pool.settled


def test_failures_before_the_first_service_are_counted_and_slow_down() -> None:
    def fail(number: int, channel: socket.socket) -> int:
        raise SystemExit(9)

    now, pause = time.monotonic(), FIRST_BACKOFF_SECONDS
    with running(1, fail) as pool:
        for failures in (1, 2, 3):
            pool.tend(now)
            assert len(pool.workers) == 1
            while pool.workers:  # until it has ended, which takes no time by this clock
                pool.tend(now)
            assert pool.failures == failures
            pool.tend(now + 0.9 * pause)
            assert not pool.workers
            now += pause
            pause *= 2


def test_workers_end_with_their_parent() -> None:
    read, write = os.pipe()

    def hang(number: int, channel: socket.socket) -> int:
        os.write(write, b"!")
        time.sleep(600)  # deaf to its channel
        return 0

    parent = os.fork()
    if parent == 0:
        os.close(read)
        pool = Pool(2, hang, Log(io.StringIO()))
        pool.publish(made_key_set(), time.monotonic())
        pool.tend(time.monotonic())
        time.sleep(600)
        os._exit(0)
    os.close(write)
    assert os.read(read, 1)
    assert os.read(read, 1)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    readable, _, _ = select.select([read], [], [], DEADLINE)
    assert readable
    assert os.read(read, 1) == b""  # the workers held the other end
    os.close(read)


def test_a_worker_that_hangs_is_replaced_before_the_probe_ends_the_enclave() -> None:
    """Else the keys would be lost, and what was provisioned, for the sake of one worker."""
    found = re.search(r"--probe (\d+) ", (DEPLOY / "run-enclave").read_text())
    assert found is not None
    asked = Options(connect=Vsock(16, 5000), probe=float(found[1])).questions
    assert asked is not None
    noticed = SILENT_SECONDS + SUPERVISOR_TICK_SECONDS
    start = 1.0  # of a worker, on a machine that has much else to do
    patience = asked.misses * asked.patience + (asked.misses - 1) * asked.pause
    assert noticed + LONGEST_BACKOFF_SECONDS + start < patience


class Buried:
    """A pool whose workers are none: they end when the test says so, by its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int = 1) -> None:
        self.told = io.StringIO()
        self.pool = Pool(size, acknowledge, Log(self.told))
        self.ended: dict[int, int] = {}  # how, by process
        monkeypatch.setattr(
            os,
            "waitpid",
            lambda pid, _: (pid, self.ended.pop(pid)) if pid in self.ended else (0, 0),
        )

    def put(self, pid: int, born: float, place: int = 0) -> socket.socket:
        """Have a worker at a place; return its end of the channel."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.pool._places[place].worker = Worker(pid, ours, born)
        return theirs

    def end(self, pid: int, now: float, status: int = 0) -> None:
        self.ended[pid] = status
        self.pool.watch(now)

    def pause(self, now: float) -> float:
        """Return after how many seconds the first worker is replaced."""
        return self.pool._places[0].due - now

    def events(self) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.told.getvalue().splitlines()]
        return [{k: v for k, v in line.items() if k != "time"} for line in lines]


def test_who_ends_soon_is_replaced_later_each_time_and_who_lived_long_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buried, now = Buried(monkeypatch), 1000.0

    def pause(lived: float) -> float:
        nonlocal now
        with buried.put(7, now):
            now += lived
            buried.end(7, now)
        return round(buried.pause(now), 6)

    doubled = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0]
    assert [pause(HEALTHY_SECONDS - 0.5) for _ in doubled] == doubled
    assert pause(HEALTHY_SECONDS) == 0
    assert [pause(0.0), pause(0.0)] == [0.1, 0.2]


def test_an_end_is_told_of_with_its_reason_and_closes_the_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buried = Buried(monkeypatch, size=2)
    with buried.put(7, 1.0, place=1) as theirs:
        theirs.send(b"a last proposal")
        buried.end(7, 2.0, status=9)  # as the kernel tells of SIGKILL
        assert theirs.recv(10) == b""
    assert buried.events() == [{"event": "worker_ended", "worker": 1, "pid": 7, "exit": -9}]
    assert buried.pool.take_proposals() == [b"a last proposal"]
    assert buried.pool.take_proposals() == []
    assert buried.pool.workers == []


def test_failures_are_those_of_the_place_where_it_is_worst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buried = Buried(monkeypatch, size=3)
    for place, ends in enumerate((1, 3, 2)):
        for _ in range(ends):
            buried.put(7, 1.0, place).close()
            buried.end(7, 2.0)
    assert buried.pool.failures == 3
    with buried.put(7, 3.0, place=1) as theirs:
        theirs.send(SERIAL.pack(1))  # it serves
        buried.pool.watch(4.0)
        assert buried.pool.failures == 2
    buried.end(7, 5.0)
    assert buried.pool.failures == 2  # and has served, however it ended


def test_a_time_without_looks_is_no_fault_beyond_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    buried = Buried(monkeypatch)
    with buried.put(7, 100.0) as theirs:
        theirs.send(SERIAL.pack(1))
        buried.pool.watch(100.0)
        for now in (100.5, 101.0):  # as often as a heart beats
            buried.pool.watch(now)
        assert buried.pool.workers[0].beaten_at == 100.0
        buried.pool.watch(104.0)
        assert buried.pool.workers[0].beaten_at == 103.0
        buried.pool.watch(104.5)
        assert buried.pool.workers[0].beaten_at == 103.0
        buried.end(7, 105.0)


def test_a_worker_keeps_nothing_of_its_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    buried = Buried(monkeypatch)
    buried.pool.publish(made_key_set(), 1.0)
    with buried.put(7, 1.0) as theirs:
        theirs.send(b"secrets")
        buried.pool.watch(1.0)
        buried.pool.forget()
        assert theirs.recv(10) == b""
    assert buried.pool.take_proposals() == []
    assert buried.pool._snapshot == b""


def test_a_worker_that_does_not_return_has_failed() -> None:
    def fails() -> int:
        raise ValueError

    for enter, status in ((fails, 70), (lambda: 3, 3)):
        pid = os.fork()
        if pid == 0:
            os.close(2)  # what is raised is told on standard error
            _be_worker(enter)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
