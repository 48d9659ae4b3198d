"""The faults: which there are, in what order they come, and what each does to the path.

A fault returns when the part that it hit has ended, from which the next right answer is timed: a
part that stands still ends when its watchdog ends it; an upstream's outage when it is back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from scripts.local.stack import StackError
from scripts.soaking.asking import ECHO, EMBEDDED
from scripts.soaking.judging import Outage
from scripts.soaking.load import Load
from scripts.soaking.path import (
    RESTART_SECONDS,
    SoakedPath,
    continue_process,
    ended,
    kill_process,
    stop_process,
)

OUTAGE_SECONDS = 8.0  # of the upstream
NOTICED_SECONDS = 60.0  # for a watchdog; later it has not noticed at all

Strike = Callable[[SoakedPath, random.Random], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: what it does, the models that it takes away, and the limit for them to come back."""

    name: str
    strike: Strike
    models: tuple[str, ...]
    limit: float


def _killed(role: str) -> Strike:
    async def strike(path: SoakedPath, chance: random.Random) -> float:
        pid = _one(path, role, chance)
        at = time.monotonic()
        kill_process(pid)
        return at

    return strike


def _stopped(role: str) -> Strike:
    async def strike(path: SoakedPath, chance: random.Random) -> float:
        pid = _one(path, role, chance)
        stop_process(pid)
        at = await ended(pid, NOTICED_SECONDS)
        continue_process(pid)
        if at is None:
            raise StackError(f"nobody noticed in {NOTICED_SECONDS:.0f} s that the {role} hangs")
        return at

    return strike


def _one(path: SoakedPath, role: str, chance: random.Random) -> int:
    pids = path.pids()[role]
    if not pids:
        raise StackError(f"there is no {role}")
    return chance.choice(pids)


def _restarted(name: str, seconds: float) -> Strike:
    """Return what kills a part and has it started again after some seconds, meanwhile."""

    async def strike(path: SoakedPath, _: random.Random) -> float:
        at = await asyncio.to_thread(path.kill, name)
        await asyncio.sleep(seconds)
        path.restarting = asyncio.create_task(asyncio.to_thread(path.begin_again, name))
        return at

    return strike


async def _outage(path: SoakedPath, _: random.Random) -> float:
    await asyncio.to_thread(path.kill, "upstream")
    await asyncio.sleep(OUTAGE_SECONDS)
    await asyncio.to_thread(path.begin_again, "upstream")
    return time.monotonic()


BOTH = (ECHO, EMBEDDED)
FAULTS = (
    Fault("engine", _killed("engine"), (EMBEDDED,), 5),
    Fault("worker", _killed("worker"), (ECHO,), 2),
    Fault("server", _restarted("enclave server", 0), BOTH, 5),
    Fault("proxy", _restarted("host proxy", RESTART_SECONDS), (ECHO,), 5),
    Fault("relay", _restarted("relay", RESTART_SECONDS), (ECHO,), 5),
    Fault("worker stopped", _stopped("worker"), (ECHO,), 2),
    Fault("engine stopped", _stopped("engine"), (EMBEDDED,), 5),
    Fault("upstream", _outage, (ECHO,), 5),
)


def order(chance: random.Random, names: Sequence[str]) -> Iterator[Fault]:
    """Yield faults without end: each once, in an order of chance, then each once again."""
    faults = [fault for fault in FAULTS if not names or fault.name in names]
    while True:
        chance.shuffle(faults)
        yield from faults


async def suffer(fault: Fault, path: SoakedPath, load: Load, chance: random.Random) -> Outage:
    """Have a fault happen, and return how long it took until all was right again."""
    begun = time.monotonic()
    over = await fault.strike(path, chance)
    right = await asyncio.gather(*(load.right_again(model) for model in fault.models))
    await path.restarted()
    return Outage(fault.name, begun, over, max(right), fault.limit)
