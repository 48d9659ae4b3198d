"""Feed parsers with inputs that nobody would write, and tell which property one of them breaks.

    scripts/fuzz [--seconds N | --hours N] [--seed N] [HARNESSES ...]
    scripts/fuzz HARNESS --input FILE

HARNESSES are files of tests/fuzz, without fuzz_ and .py (default: all). The time (60 seconds) is
shared among them, two at a time. What has reached something new is kept in the user's cache, and
so is what broke something: the next run goes on from the first, and tries the second before all.
--input tries one input, such as a file that a run has named.

Where atheris is installed, inputs are guided by the coverage of our code; elsewhere they are
changed at random, and the last line says so. Exit codes: 0 all hold, 1 one does not, 2 wrong usage.
"""

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.fuzzing.corpus import cache
from scripts.fuzzing.engines import description
from scripts.fuzzing.harnesses import load, names
from scripts.fuzzing.trying import Outcome, tried

AT_ONCE = 2
NICENESS = 10
ROUND_SECONDS = 300
"""Of one harness, before the others have their turn: a run that is ended has tried all."""


def outcomes(chosen: Sequence[str], root: Path, seconds: float, seed: int) -> Iterator[Outcome]:
    """Yield the outcome of each harness in each round; one that is broken has no further turn."""
    share = max(1.0, seconds * AT_ONCE / len(chosen))
    rounds = math.ceil(share / ROUND_SECONDS)
    broken: set[str] = set()
    for number in range(rounds):

        def attempt(name: str, seed: int = seed + number) -> Outcome:
            return tried(name, root, share / rounds, seed)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for outcome in pool.map(attempt, [name for name in chosen if name not in broken]):
                broken.update({outcome.name} if outcome.broken else ())
                yield outcome


def table(found: Sequence[Outcome]) -> str:
    """Return what came of all harnesses, one a line, for people."""
    rows: list[tuple[str, ...]] = [
        ("harness", "executions", "corpus", "edges", "features", "broken")
    ]
    for each in found:
        numbers = (each.counts.executions, each.counts.corpus, each.counts.edges)
        cells = (*numbers, each.counts.features, len(each.broken))
        rows.append((each.name, *("-" if cell is None else f"{cell:,}" for cell in cells)))
    total = sum(each.counts.executions for each in found)
    rows.append(("all", f"{total:,}", "", "", "", str(sum(len(each.broken) for each in found))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def run(chosen: Sequence[str], seconds: float, seed: int, root: Path) -> int:
    """Run harnesses and print the table; return 1 if one was broken."""
    found: dict[str, Outcome] = {}
    try:
        for outcome in outcomes(chosen, root, seconds, seed):
            earlier = found.get(outcome.name)
            found[outcome.name] = outcome if earlier is None else earlier.then(outcome)
            print(f"{outcome.name}: {outcome.counts.executions:,}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("interrupted: this is what was done", file=sys.stderr)
    print(table(list(found.values())))
    print(f"engine: {description()}; inputs are kept in {root}")
    broken = [said for outcome in found.values() for said in outcome.broken]
    print("\n".join(broken), end="\n" if broken else "")
    return int(bool(broken))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", usage=__doc__)
    parser.add_argument("harnesses", nargs="*", metavar="HARNESS")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=60.0)
    length.add_argument("--hours", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path)
    options = parser.parse_args()
    known = names()
    if unknown := sorted(set(options.harnesses) - set(known)):
        parser.error(f"no harness {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = options.harnesses or known
    if options.input is not None:
        if len(chosen) != 1 or not options.input.is_file():
            parser.error("--input wants one harness, and a file that is there")
        load(chosen[0]).run(options.input.read_bytes())
        print(f"{chosen[0]} holds")
        return 0
    os.nice(NICENESS)
    seconds = options.seconds if options.hours is None else options.hours * 3600
    return run(chosen, seconds, options.seed, cache())


if __name__ == "__main__":
    sys.exit(main())
