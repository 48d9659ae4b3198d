"""How far collecting goes before a tick, by a clock that moves only while somebody collects."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from enclave_server.gateway.ticker import (
    AWAKE_SECONDS,
    LEAST_SECONDS,
    QUIET_SECONDS,
    Ticker,
    _usual,
    _wait_until,
)

TICK = 0.1
DUE = 10 * TICK
EACH = 0.001


class Loop:
    """Has a time, and keeps what it is to call."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.soon: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., object], *arguments: object) -> None:
        self.soon.append((call, arguments))


def collected(now: float, streams: int, first: int = 0, preparing: float = 0.0) -> list[int]:
    """Return which of the streams are asked, in their order, if the loop gets to it at `now`."""
    loop: Any = Loop(now)
    asked: list[int] = []

    def collect(number: int) -> None:
        asked.append(number)
        loop.now += EACH

    async def run() -> None:
        clock = Ticker(TICK)
        clock._count, clock._first, clock._preparing = 10, first, preparing
        for number in range(streams):
            woken = asyncio.get_running_loop().create_future()
            clock._waiting.append((woken, lambda: b"", partial(collect, number)))
        clock._prepare(loop)
        assert not clock._waiting

    asyncio.run(run())
    return asked


def test_all_are_asked_when_there_is_time() -> None:
    assert collected(DUE - 0.05, 20) == list(range(20))


@pytest.mark.parametrize("preparing", [0.0, 0.0005])
def test_it_ends_as_long_before_the_tick_as_quiet_and_preparing_need(preparing: float) -> None:
    streams = 20
    left = 10.5 * EACH  # so that the eleventh is the last to begin
    now = DUE - QUIET_SECONDS - preparing * streams - left
    assert collected(now, streams, preparing=preparing) == list(range(11))


def test_something_is_asked_however_late_it_is() -> None:
    asked = collected(DUE + 1, 20)
    assert len(asked) == int(LEAST_SECONDS / EACH) + 1


def test_who_was_not_asked_is_asked_first() -> None:
    assert collected(DUE - 0.05, 5, first=3) == [3, 4, 0, 1, 2]
    assert collected(DUE - 0.05, 3, first=3) == [0, 1, 2]  # that one has gone


def test_the_first_chunk_is_begun_with_shortly_before_its_tick() -> None:
    """Though nobody knows yet what it takes."""
    loop: Any = Loop(0.0)
    begins: list[float] = []
    loop.call_at = lambda when, *_: begins.append(when)

    async def run() -> None:
        clock = Ticker(TICK)
        clock._count = 10
        for _ in range(5):
            woken = asyncio.get_running_loop().create_future()
            clock._waiting.append((woken, lambda: b"", lambda: None))
        clock._plan(loop)

    asyncio.run(run())
    (begin,) = begins
    assert QUIET_SECONDS < DUE - begin < 2 * QUIET_SECONDS


def test_what_a_stream_needs_is_the_most_of_late_and_is_forgotten() -> None:
    needs = [_usual(0.0, 0.2, 10)]
    assert needs == [0.02]
    while needs[-1] > 0.001:
        needs.append(_usual(needs[-1], 0.01, 10))
    assert needs[-1] == 0.001
    assert 10 < len(needs) < 100  # within some seconds, and not by the next tick
    assert needs == sorted(needs, reverse=True)
    assert _usual(0.02, 0.0, 0) == 0.02


def test_the_last_of_a_wait_is_spent_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """How late a sleeper wakes depends on what the processor did before."""
    now, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    def look() -> float:
        now[0] += 1e-6
        return now[0]

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", look)
    _wait_until(100.002)
    assert slept == [pytest.approx(0.002 - AWAKE_SECONDS, abs=1e-5)]
    assert now[0] == pytest.approx(100.002, abs=1e-5)
    _wait_until(now[0] + AWAKE_SECONDS / 2)
    assert len(slept) == 1  # so short a wait is none to sleep through


def test_what_collecting_took_is_known_at_the_next_tick() -> None:
    loop: Any = Loop(DUE - 0.05)

    def collect() -> None:
        loop.now += EACH

    async def run() -> None:
        clock = Ticker(TICK)
        clock._count = 10
        for _ in range(5):
            woken = asyncio.get_running_loop().create_future()
            clock._waiting.append((woken, lambda: b"", collect))
        clock._prepare(loop)
        assert clock._collecting == pytest.approx(EACH)

    asyncio.run(run())
