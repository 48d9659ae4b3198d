"""Pipes are lent empty, and no more of them than agreed."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from host_proxy.pipes import PIPE_BYTES, SPARE_PIPES, Pipe, PipePool


def test_a_pipe_pool_lends_no_more_than_its_limit() -> None:
    pool = PipePool(limit=2)
    first, second = pool.borrow(), pool.borrow()
    assert isinstance(first, Pipe)
    assert isinstance(second, Pipe)
    assert pool.borrow() is None
    os.write(first.write_end, b"left behind")
    first.held = 11
    pool.give_back(first)
    pool.give_back(second)
    assert pool.lent == 0
    assert pool.borrow() is second  # the one with data in it was closed
    pool.give_back(second)
    pool.close()
    assert PIPE_BYTES == 1 << 20


def test_spare_pipes_are_few_and_closed_at_the_end() -> None:
    before = descriptors()
    pool = PipePool()
    lent = [pool.borrow() for _ in range(SPARE_PIPES + 3)]
    assert descriptors() == before + 2 * len(lent)
    for pipe in lent:
        assert pipe is not None
        pool.give_back(pipe)
    assert descriptors() == before + 2 * SPARE_PIPES
    pool.close()
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_without_descriptors_there_is_no_pipe_and_none_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spent(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many open files")

    pool = PipePool(limit=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe2", spent)
        assert pool.borrow() is None
    assert pool.lent == 0
    pipe = pool.borrow()
    assert pipe is not None
    pool.give_back(pipe)
    pool.close()


def test_a_pipe_beyond_the_users_allowance_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, command: int, size: int) -> int:
        assert (command, size) == (fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        raise PermissionError(errno.EPERM, "not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", refuse)
        pipe = Pipe()
    assert fcntl.fcntl(pipe.write_end, fcntl.F_GETPIPE_SZ) < PIPE_BYTES
    pipe.close()
    pipe = Pipe()
    assert fcntl.fcntl(pipe.write_end, fcntl.F_GETPIPE_SZ) == PIPE_BYTES
    pipe.close()
