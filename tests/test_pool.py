"""Tests of forked workers, with workers that only acknowledge what they are sent."""

import contextlib
import functools
import io
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from enclave_server import pool as pool_module
from enclave_server.keys import KeySet, decode_snapshot
from enclave_server.log import Log
from enclave_server.pool import MAX_SNAPSHOT_BYTES, SERIAL, Pool, Run
from tests.test_keys import SIGNING_KEY, made_key_set

DEADLINE = 20.0


def acknowledge(number: int, channel: socket.socket) -> int:
    """Be a worker that takes every key set until its parent closes the channel."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    while message := channel.recv(MAX_SNAPSHOT_BYTES):
        serial, _ = decode_snapshot(message, SIGNING_KEY)
        channel.send(SERIAL.pack(serial))
    return 0


def tend_until(pool: Pool, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        select.select([worker.channel for worker in pool.workers], [], [], 0.01)
        pool.tend(time.monotonic())


@contextlib.contextmanager
def running(size: int, run: Run = acknowledge) -> Iterator[Pool]:
    pool = Pool(size, run, Log(io.StringIO()))
    pool.publish(made_key_set(), time.monotonic())
    try:
        yield pool
    finally:
        pool.signal(signal.SIGKILL)
        while pool.workers:
            pool.watch(time.monotonic())


def has_failed(pool: Pool, times: int) -> bool:
    return pool.failures == times


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


def test_a_worker_that_hangs_with_old_keys_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "ACKNOWLEDGE_SECONDS", 0.2)
    with running(1) as pool:
        tend_until(pool, lambda: pool.settled)
        (hanging,) = pids(pool)
        os.kill(hanging, signal.SIGSTOP)
        pool.publish(made_key_set(), time.monotonic())
        tend_until(pool, lambda: pool.settled)
        assert pids(pool) != [hanging]


def test_many_key_sets_that_nobody_takes_block_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(1) as pool:
        tend_until(pool, lambda: pool.settled)
        os.kill(pids(pool)[0], signal.SIGSTOP)
        keys: KeySet = made_key_set()
        for _ in range(500):
            pool.publish(keys, time.monotonic())
        assert not pool.settled


def test_failures_before_the_first_service_are_counted_and_slow_down() -> None:
    started: list[float] = []

    def fail(number: int, channel: socket.socket) -> int:
        raise SystemExit(9)

    with running(1, fail) as pool:
        for failures in (1, 2, 3):
            tend_until(pool, functools.partial(has_failed, pool, failures))
            started.append(time.monotonic())
    assert started[2] - started[1] >= 0.15


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
