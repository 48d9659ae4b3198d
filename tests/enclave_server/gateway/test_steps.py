"""Long work goes on in turns of the event loop, and others have theirs between."""

import asyncio
from collections.abc import Generator

import pytest

from enclave_server.gateway.steps import Stepping

STEPS = 50


def work(done: list[int], name: int = 0, steps: int = STEPS) -> Generator[None, None, str]:
    for _ in range(steps):
        done.append(name)
        yield
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
    def broken() -> Generator[None, None, None]:
        yield
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
