"""Long work goes on in turns of the event loop, and others have theirs between."""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from enclave_server.gateway.steps import Stepping

STEPS = 50


def work(done: list[int], name: int = 0, steps: int = STEPS) -> Generator[bool, None, str]:
    for _ in range(steps):
        done.append(name)
        yield False
    return "result"


async def rounds_during(stepping: Stepping, done: list[int]) -> int:
    """Return how often the loop has gone round while `work` was done."""
    rounds = 0
    task = asyncio.create_task(stepping.take(work(done)))
    while not task.done():
        rounds += 1
        await asyncio.sleep(0)
    assert await task == "result"
    return rounds


def test_the_loop_goes_round_between_steps() -> None:
    done: list[int] = []
    # Every step takes longer than no time at all.
    assert asyncio.run(rounds_during(Stepping(0.0), done)) > STEPS
    assert len(done) == STEPS


def test_short_steps_share_a_turn() -> None:
    done: list[int] = []
    assert asyncio.run(rounds_during(Stepping(3600.0), done)) <= 3
    assert len(done) == STEPS


def test_one_work_is_done_after_the_other() -> None:
    done: list[int] = []

    async def main() -> None:
        stepping = Stepping(0.0)
        await asyncio.gather(*(stepping.take(work(done, name)) for name in range(3)))

    asyncio.run(main())
    assert done == sorted(done)


def test_failure_belongs_to_its_work_alone() -> None:
    def broken() -> Generator[bool, None, None]:
        yield False
        raise ValueError

    async def main() -> None:
        stepping = Stepping(0.0)
        with pytest.raises(ValueError):  # noqa: PT011
            await stepping.take(broken())
        assert await stepping.take(work([])) == "result"

    asyncio.run(main())


def test_work_that_is_given_up_lets_the_next_begin() -> None:
    async def main() -> None:
        stepping = Stepping(0.0)
        task = asyncio.create_task(stepping.take(work([], steps=10**9)))
        await asyncio.sleep(0)
        task.cancel()
        assert await stepping.take(work([])) == "result"

    asyncio.run(main())


def test_a_long_step_is_done_in_a_thread_and_no_other() -> None:
    """The long one waits for the loop, which goes round meanwhile, or this never ends."""
    gone_round = threading.Event()
    threads: list[int] = []

    def long() -> Generator[bool, None, str]:
        threads.append(threading.get_ident())
        yield True
        threads.append(threading.get_ident())
        assert gone_round.wait(60)
        yield True
        threads.append(threading.get_ident())
        yield False
        threads.append(threading.get_ident())
        return "result"

    async def main() -> int:
        task = asyncio.create_task(Stepping(3600.0).take(long()))
        while len(threads) < 2:
            await asyncio.sleep(0.001)
        gone_round.set()
        assert await task == "result"
        return threading.get_ident()

    ours = asyncio.run(main())
    assert [thread == ours for thread in threads] == [True, False, False, True]


def test_failure_of_a_long_step_belongs_to_its_work_alone() -> None:
    def broken() -> Generator[bool, None, None]:
        yield True
        raise ValueError

    async def main() -> None:
        stepping = Stepping()
        with pytest.raises(ValueError):  # noqa: PT011
            await stepping.take(broken())
        assert await stepping.take(work([])) == "result"

    asyncio.run(main())


def test_a_long_step_waits_for_nothing_that_the_loop_has_in_threads() -> None:
    """As names whose servers do not answer, which take all of the loop's threads."""

    def long() -> Generator[bool, None, str]:
        yield True
        yield False
        return "result"

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        answered = threading.Event()
        resolving = asyncio.create_task(asyncio.to_thread(answered.wait, 60))
        await asyncio.sleep(0)
        try:
            assert await Stepping().take(long()) == "result"
            assert not resolving.done()
        finally:
            answered.set()
            await resolving

    asyncio.run(main())


def test_a_long_step_that_was_given_up_is_waited_for_by_the_next() -> None:
    """Or as many at once would take memory as hang up."""
    done: list[str] = []
    begun, gone_on = threading.Event(), threading.Event()

    def given_up() -> Generator[bool, None, None]:
        yield True
        begun.set()
        gone_on.wait(60)
        done.append("given up")
        yield False

    def following() -> Generator[bool, None, None]:
        yield True
        done.append("following")
        yield False

    async def main() -> None:
        stepping = Stepping()
        task = asyncio.create_task(stepping.take(given_up()))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        after = asyncio.create_task(stepping.take(following()))
        for _ in range(100):
            await asyncio.sleep(0)
        gone_on.set()
        await after

    asyncio.run(main())
    assert done == ["given up", "following"]
