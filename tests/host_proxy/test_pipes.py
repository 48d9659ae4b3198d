"""Pipes are lent empty, and no more of them than agreed."""

import os

from host_proxy.pipes import PIPE_BYTES, Pipe, PipePool


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
