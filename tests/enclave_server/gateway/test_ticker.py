"""The clock of all streams: common ticks, nothing between a tick and what it sends."""

import asyncio
import contextlib
import contextvars
import functools
import itertools
import time
from collections.abc import Callable, Coroutine

import pytest

from enclave_server.gateway import ticker
from enclave_server.gateway.ticker import Ticker

TICK = 0.02
DEADLINE = 120.0


def run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE):
            await scenario()

    asyncio.run(limited())


def test_who_waits_is_woken_at_the_next_tick_and_not_before() -> None:
    async def scenario() -> None:
        clock = Ticker(TICK)
        loop = asyncio.get_running_loop()
        for _ in range(5):
            begun = loop.time()
            assert await clock.next(lambda: b"data") == b"data"
            woken = loop.time()
            assert woken // TICK > begun // TICK  # a multiple of the tick lies between

    run(scenario)


def test_all_are_woken_at_one_tick() -> None:
    async def scenario() -> None:
        clock = Ticker(TICK)
        loop = asyncio.get_running_loop()
        order: list[int] = []

        async def wait(number: int) -> float:
            await clock.next(lambda: b"")
            order.append(number)
            return loop.time()

        await asyncio.gather(*(wait(number) for number in range(200)))
        assert order == list(range(200))

    run(scenario)


def test_a_chunk_is_prepared_before_its_tick_and_quiet_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[tuple[float, float]] = []
    wait_until = ticker._wait_until

    def watched(due: float) -> None:
        begun = time.monotonic()
        wait_until(due)
        assert time.monotonic() >= due
        waits.append((begun, due))

    monkeypatch.setattr(ticker, "_wait_until", watched)

    async def scenario() -> None:
        clock = Ticker(TICK)
        prepared: list[float] = []

        def prepare() -> bytes:
            prepared.append(time.monotonic())
            return b""

        for number in range(10):
            await clock.next(prepare)
            assert len(prepared) == len(waits) == number + 1

    run(scenario)


def test_nothing_runs_between_the_tick_and_what_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the loop is: each tick, then all who waited, without a gap."""
    events: list[str] = []
    wait_until = ticker._wait_until

    def watched(due: float) -> None:
        wait_until(due)
        events.append("tick")

    monkeypatch.setattr(ticker, "_wait_until", watched)

    async def scenario() -> None:
        clock = Ticker(TICK)
        loop = asyncio.get_running_loop()

        def busy() -> None:
            events.append("busy")
            loop.call_soon(busy)

        async def stream() -> None:
            for _ in range(5):
                await clock.next(lambda: b"")
                events.append("sent")

        busy()
        await asyncio.gather(*(stream() for _ in range(3)))

    run(scenario)
    for place in (index for index, event in enumerate(events) if event == "tick"):
        assert events[place + 1 : place + 4] == ["sent"] * 3
    assert events.count("tick") == 5
    assert "busy" in events


def test_missed_ticks_are_not_made_up_for() -> None:
    async def scenario() -> None:
        clock = Ticker(TICK)
        loop = asyncio.get_running_loop()
        await clock.next(lambda: b"")
        time.sleep(5 * TICK)  # the loop is held up on purpose
        ticks = []
        for _ in range(3):
            await clock.next(lambda: b"")
            ticks.append(loop.time() // TICK)
        assert all(before < after for before, after in itertools.pairwise(ticks))

    run(scenario)


def test_a_failure_is_of_one_stream_alone() -> None:
    async def scenario() -> None:
        clock = Ticker(TICK)

        def fail() -> bytes:
            raise ValueError("of one")

        good, bad = await asyncio.gather(
            clock.next(lambda: b"good"), clock.next(fail), return_exceptions=True
        )
        assert good == b"good"
        assert isinstance(bad, ValueError)

    run(scenario)


def test_who_has_gone_costs_nothing() -> None:
    async def scenario() -> None:
        clock = Ticker(TICK)
        prepared: list[int] = []

        def prepare() -> bytes:
            prepared.append(1)
            return b""

        gone = asyncio.ensure_future(clock.next(lambda: b"%d" % len(prepared)))
        gone.cancel()
        staying = asyncio.ensure_future(clock.next(lambda: b"stays"))
        await asyncio.sleep(0)

        leaving = asyncio.ensure_future(clock.next(prepare, lambda: prepared.append(2)))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == b"stays"
        assert not prepared

    run(scenario)


def test_all_is_collected_before_anything_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "LEAST_SECONDS", DEADLINE)

    async def scenario() -> None:
        clock = Ticker(TICK)
        order: list[str] = []

        def prepare() -> bytes:
            order.append("prepared")
            return b""

        async def stream() -> None:
            for _ in range(3):
                await clock.next(prepare, lambda: order.append("collected"))

        await asyncio.gather(*(stream() for _ in range(4)))
        assert order == (["collected"] * 4 + ["prepared"] * 4) * 3

    run(scenario)


class StillLoop(asyncio.SelectorEventLoop):
    """A loop whose clock moves only when it is told to; what it is asked to call is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.asked: list[tuple[float, Callable[..., object]]] = []

    def time(self) -> float:
        return self.now

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self.asked.append((when, callback))
        return super().call_at(when, callback, *args, context=context)


def waiting_at(
    loop: StillLoop, count: int, collect: Callable[[int], None]
) -> list[tuple[asyncio.Future[bytes], Callable[[], bytes], Callable[[], None]]]:
    """Return what a ticker keeps of so many streams."""
    return [
        (loop.create_future(), lambda: b"", functools.partial(collect, number))
        for number in range(count)
    ]


def test_a_burst_is_collected_as_far_as_there_is_time_and_the_rest_first_at_the_next_tick() -> None:
    with contextlib.closing(StillLoop()) as loop:
        clock = Ticker(TICK)
        asked: list[int] = []

        def collect(number: int) -> None:
            asked.append(number)
            loop.now += 0.004

        waiting = waiting_at(loop, 9, collect)
        rounds = []
        for allowed in (0.010, 0.010, 0.0, 1.0):
            clock._collect(waiting, loop.now + allowed, loop)
            rounds.append(asked.copy())
            asked.clear()
        # However little time there is, somebody is asked.
        assert rounds == [[0, 1, 2], [3, 4, 5], [6], [7, 8, 0, 1, 2, 3, 4, 5, 6]]


def test_a_crowd_is_begun_with_earlier() -> None:
    """As many as wait half a tick before the tick have the time that they need."""
    tick = 0.5
    with contextlib.closing(StillLoop()) as loop:
        loop.now = 0.01
        clock = Ticker(tick)
        begins = []
        for count, seconds in ((1, 0.0001), (100, 0.0001), (100, 0.001), (1000, 0.001)):
            clock._collecting = clock._preparing = seconds
            clock._waiting = waiting_at(loop, 1, lambda _: None)
            clock._schedule(loop)
            half, plan = loop.asked.pop()
            clock._waiting = waiting_at(loop, count, lambda _: None)
            loop.now = half
            plan(loop)
            begins.append(loop.asked.pop()[0] if loop.asked else half)
            assert clock._scheduled is (begins[-1] > half)
            loop.now = clock._count * tick
        quiet = ticker.QUIET_SECONDS
        leads = [quiet + 0.0002, quiet + 0.02, quiet + 0.2, tick / 2]
        assert begins == pytest.approx([(n + 1) * tick - lead for n, lead in enumerate(leads)])


def test_each_stream_has_its_chunk_at_each_tick_however_long_collecting_takes() -> None:
    streams, ticks = 9, 12
    prepared: list[int] = []

    async def scenario() -> None:
        clock = Ticker(TICK)

        async def stream(number: int) -> None:
            def prepare() -> bytes:
                prepared.append(number)
                return b""

            for _ in range(ticks):
                await clock.next(prepare, lambda: time.sleep(TICK / 10))

        await asyncio.gather(*(stream(number) for number in range(streams)))

    run(scenario)
    assert prepared == list(range(streams)) * ticks
