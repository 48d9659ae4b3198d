"""Load the whole path on this machine for a time, break one part after the other, and tell all.

    scripts/soak [--minutes N] [--seed N] [--rate N] [--only FAULT] [--relay KIND]
                 [--json FILE] [--log FILE]

Client, relay (scripts/relay.py, or nginx as deployed), host proxy, enclave server with two workers
and the embedded model are real; the security module is simulated, and a stand-in for an upstream
says each question's mark back and counts how often the question came. Questions of many kinds are
asked at --rate a second (12), at most 60 at a time. Keys rotate each minute. Engine, worker,
server, proxy and relay are killed with SIGKILL in turn, a worker and the engine stopped with
SIGSTOP, the upstream taken away, in an order that --seed gives; --only keeps to one of them and
can be given again. The first twentieth and the last quarter of the time are without faults.
Whatever is killed is started again as systemd would.

At the end there is a table, and the exit code is 1 if one of these limits was not kept: nothing
wrong, silent, lost or dispatched twice; the next right answer within 2 s of a worker's end and 5 s
of any other part's; 99 % right outside of that; each failure told with the right advice; no text
of a question in any log or file; descriptors and threads back where they were; memory of each
process within 5 % once it has settled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from scripts.local.stack import StackError
from scripts.soaking import faults, measures, table
from scripts.soaking.asking import Clients
from scripts.soaking.judging import Outage, judge
from scripts.soaking.kinds import LAST
from scripts.soaking.load import Load, Record
from scripts.soaking.path import NGINX, REFERENCE, SoakedPath

RATE = 12.0  # questions a second: a third of a core, so that two are not saturated
AT_ONCE = 60
QUIET_AT_FIRST, QUIET_AT_LAST = 1 / 20, 1 / 4  # of the time
PAUSES = (0.4, 1.2)  # between two faults, of the usual pause
USUAL_PAUSE_SECONDS = 40.0
FAULTS_AT_LEAST = 12  # in a short run the pauses are shorter
SAMPLE_SECONDS = 10.0
KEPT_SECONDS = 6.0  # longer than the client keeps a connection for its next question
IDLE_SECONDS = 30  # by then all others are closed, those to the upstream last
SETTLE_SECONDS = 3.0


@dataclass(slots=True)
class Soak:
    """One run: what was seen of it, and when."""

    path: SoakedPath
    options: argparse.Namespace
    record: Record = field(default_factory=Record)
    outages: list[Outage] = field(default_factory=list)
    samples: list[measures.Measure] = field(default_factory=list)
    idle: list[list[measures.Measure]] = field(default_factory=list)
    began: float = 0.0
    canary: str = field(default_factory=lambda: f"canary{secrets.token_hex(8)}")

    @property
    def seconds(self) -> float:
        """How long questions are asked."""
        return 60 * float(self.options.minutes)

    async def run(self) -> None:
        """Load and break the path, and let it come to rest."""
        chance = random.Random(self.options.seed)  # noqa: S311 - what is drawn is no secret
        clients = Clients(self.path.relay, self.canary, chance, self.path.local)
        await asyncio.sleep(SETTLE_SECONDS)
        self.idle.append(self.look())
        self.began = time.monotonic()
        load = Load(self.record, clients, chance, self.options.rate, AT_ONCE)
        sampling = asyncio.create_task(self.sample())
        try:
            asking = asyncio.create_task(load.run(self.began + self.seconds))
            await self.break_parts(load, chance)
            await asking
            if sampling.done():  # which it never is, unless it failed
                await sampling
            # Whoever keeps connections drops the old ones when he is asked for one.
            await asyncio.sleep(KEPT_SECONDS)
            await self.record.ask(LAST, clients)
        finally:
            sampling.cancel()
            await clients.close()
        self.samples += self.look()
        await self.rest()

    async def break_parts(self, load: Load, chance: random.Random) -> None:
        """Have one fault after the other happen, until the last, quiet part."""
        end = self.began + self.seconds * (1 - QUIET_AT_LAST)
        pause = min(USUAL_PAUSE_SECONDS, self.seconds / FAULTS_AT_LEAST / 2)
        await asyncio.sleep(self.seconds * QUIET_AT_FIRST)
        for fault in faults.order(chance, self.options.only):
            if time.monotonic() >= end:
                return
            outage = await faults.suffer(fault, self.path, load, chance)
            self.outages.append(outage)
            told = f"{outage.fault}: right again after {outage.seconds:.2f} s"
            say(f"{time.monotonic() - self.began:6.0f} s  {told}")
            await asyncio.sleep(pause * chance.uniform(*PAUSES))

    async def sample(self) -> None:
        """Look at all processes again and again."""
        while True:
            self.samples += self.look()
            await asyncio.sleep(SAMPLE_SECONDS)

    def look(self) -> list[measures.Measure]:
        """Look at all processes."""
        return measures.look(self.path.pids(), time.monotonic())

    async def rest(self) -> None:
        """Wait until descriptors and threads are as before, or for as long as they may take."""
        for _ in range(IDLE_SECONDS):
            after = self.look()
            if not table.more_than(self.idle[0], after):
                break
            await asyncio.sleep(1)
        self.idle.append(after)

    def canaries(self) -> list[str]:
        """Return where a text of a question was found."""
        written = self.path.written().encode()
        places = {"log": written, "file": self.path.left()}
        return [name for name, data in places.items() if self.canary.encode() in data]


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [fault.name for fault in faults.FAULTS]
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of faults and questions")
    parser.add_argument("--rate", type=float, default=RATE, help="questions a second")
    parser.add_argument("--only", action="append", default=[], choices=names, help="one fault")
    kinds = (REFERENCE, NGINX)
    parser.add_argument("--relay", default=REFERENCE, choices=kinds, help="which relay")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--log", type=Path, help="where to write what the parts have said")
    options = parser.parse_args()
    if options.minutes <= 0 or options.rate <= 0:
        parser.error("--minutes and --rate are above zero")
    return options


def run(options: argparse.Namespace) -> int:
    """Soak, and show what was found; return the exit code."""
    with SoakedPath(options.relay) as path:
        say(f"soaking for {options.minutes:g} minutes with the seed {options.seed} …")
        soak = Soak(path, options)
        asyncio.run(soak.run())
        canaries, arrived = soak.canaries(), path.arrived()
        if options.log is not None:
            options.log.write_text(path.written())
    verdict = judge(soak.record.asked, soak.record.asks, soak.outages, arrived)
    found = table.Findings(
        verdict,
        soak.outages,
        soak.samples,
        soak.idle,
        canaries,
        soak.began,
        soak.seconds,
        time.process_time(),
    )
    print(found.text(), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found.as_json(), indent=1) + "\n")
    return 1 if found.breaches() else 0


def main() -> int:
    """Run the command line."""
    try:
        return run(parse())
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
