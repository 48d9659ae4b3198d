"""Two checkouts by turns: what a change costs a request, or saves, on a machine that is not quiet.

    python -m scripts.benchmark.turns CHECKOUT [--connections N …] [--rounds N] [--chat]

CHECKOUT is another work tree of this repository, say `git worktree add ../before COMMIT`. Its
server and that of this work tree run with the same interpreter and get the same load, one after
the other, in every round, each first in every other one. Prints the median CPU time of both, and
the median of the differences within a round, which other work on the machine moves less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from scripts.benchmark import server
from scripts.benchmark.server import CONNECTIONS, Target
from scripts.local.stack import ROOT

LOADS = {"the same head": server.no_fields, "every head different": server.fields_of_a_cdn}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--chat", action="store_true", help="the whole chat path, signed")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        targets = {}
        for title, checkout in (("before", options.checkout.resolve()), ("after", ROOT)):
            folder = Path(name) / title
            folder.mkdir()
            start = server.chat if options.chat else server.gateway_alone
            targets[title] = stack.enter_context(start(folder, checkout))
        for load in LOADS:
            for count in options.connections:
                _compare(targets, load, count, options, Path(name))


def _compare(
    targets: dict[str, Target],
    load: str,
    connections: int,
    options: argparse.Namespace,
    folder: Path,
) -> None:
    """Print one line: what both took of the processor for a request."""
    taken: dict[str, list[float]] = {title: [] for title in targets}
    order = list(targets)
    for number in range(options.rounds + 1):
        order.reverse()
        for title in order:
            asked = replace(targets[title], fields=LOADS[load])
            row = server.one_round(asked, connections, folder, options.requests)
            if number:  # the first warms up
                taken[title].append(row["server CPU µs"])
    before, after = taken.values()
    moved = statistics.median(late - early for early, late in zip(before, after, strict=True))
    medians = f"{statistics.median(before):.1f} before, {statistics.median(after):.1f} after"
    print(f"{load}, {connections} connections: {medians}, {moved:+.1f} CPU µs", flush=True)


if __name__ == "__main__":
    main()
