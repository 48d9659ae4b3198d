"""One harness in a process of its own: it may end in any way, and take its memory with it."""

import argparse
import resource
import sys
import time
from pathlib import Path

from scripts.fuzzing.corpus import Store, write
from scripts.fuzzing.engines import Task, fuzz, in_time
from scripts.fuzzing.harnesses import load
from scripts.fuzzing.minimise import breakage, minimise

ADDRESS_SPACE = 4 << 30
"""In octets: an input that asks for more gets a MemoryError, and is found so."""
LEAST_SHARE = 0.5
"""Of the time, for inputs, however long a busy machine takes to start."""
MINIMISING_SECONDS = 20.0
SHORTEST = "shortest-"
HOLDS = 3
"""The status when an input that is to be made shorter breaks nothing."""


def main() -> int:
    """Run the command line that `scripts.fuzzing.trying` gives."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("root", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shorten", type=Path)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    store = Store(options.root, options.name)
    if options.shorten is not None:
        return _shorten(options.name, store, options.shorten)
    until, least = begun + options.seconds, options.seconds * LEAST_SHARE
    return fuzz(Task(options.name, store, until, options.seed, least))


def _shorten(name: str, store: Store, found: Path) -> int:
    """Print what an input breaks, and the path of a shorter one that breaks the same."""
    run, data = in_time(load(name).run), found.read_bytes()
    broken = breakage(run, data)
    if broken is None:
        return HOLDS
    shortest = write(store.crashes, minimise(run, data, MINIMISING_SECONDS), SHORTEST)
    print(f"{broken}\n{shortest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
