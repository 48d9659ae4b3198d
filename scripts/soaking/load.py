"""The load: questions of all kinds at random times, and a record of how each ended."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from scripts.soaking.asking import Clients, Kind, ended
from scripts.soaking.echoing_upstream import new_mark
from scripts.soaking.judging import Ask, Outcome
from scripts.soaking.kinds import KINDS, PROBES

# Any question has ended by then: evidence has 30 s, twice, and an answer may be silent for 60.
DEADLINE_SECONDS = 150.0
PROBE_SECONDS = 0.2  # between two probes
MOST_PROBES = 8  # under way
PATIENCE_SECONDS = 120.0  # for a right answer after a fault; later it has not come back at all

Clock = time.monotonic


@dataclass(slots=True)
class Record:
    """How many questions were begun, and how each of those ended that have."""

    asked: int = 0
    held_back: int = 0
    asks: list[Ask] = field(default_factory=list)

    async def ask(self, kind: Kind, clients: Clients) -> Ask:
        """Ask one question and note its end; without one within its deadline it is silent."""
        self.asked += 1
        mark, begun = new_mark(), Clock()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                seen = await ended(kind, clients, mark)
            outcome, status = seen.outcome, seen.status
            said = "" if outcome is Outcome.RIGHT else seen.said
        except TimeoutError:
            outcome, status, said = Outcome.SILENT, 0, ""
        counted, advised = kind.is_counted, kind.is_advised
        done = Ask(kind.name, mark, begun, Clock(), outcome, status, said, counted, advised)
        self.asks.append(done)
        return done


@dataclass(slots=True)
class Load:
    """Asks at a rate a second, with no more than `most` under way."""

    record: Record
    clients: Clients
    chance: random.Random
    rate: float
    most: int
    _under_way: set[asyncio.Task[Ask]] = field(default_factory=set)

    async def run(self, until: float) -> None:
        """Ask until then, and wait for all answers."""
        kinds, weights = KINDS, [kind.weight for kind in KINDS]
        while Clock() < until:
            await asyncio.sleep(self.chance.expovariate(self.rate))
            if len(self._under_way) < self.most:
                self.start(self.chance.choices(kinds, weights)[0])
            else:
                self.record.held_back += 1
        await self.settle()

    def start(self, kind: Kind) -> asyncio.Task[Ask]:
        """Ask, without waiting for the answer."""
        task = asyncio.create_task(self.record.ask(kind, self.clients))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def settle(self) -> None:
        """Wait for all answers."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def right_again(self, model: str) -> float:
        """Return when the first right answer of `model` came that was asked for from now on."""
        probes: set[asyncio.Task[Ask]] = set()
        end = Clock() + PATIENCE_SECONDS
        while Clock() < end:
            if len(probes) < MOST_PROBES:
                probes.add(self.start(PROBES[model]))
            await asyncio.sleep(PROBE_SECONDS)
            done = {task for task in probes if task.done()}
            probes -= done
            right = [task.result() for task in done if task.result().outcome is Outcome.RIGHT]
            if right:
                return min(each.ended for each in right)
        return Clock()
