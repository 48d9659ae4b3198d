"""Change the product at one place after another, and tell which changes no test notices.

    scripts/mutate [--sample N] [--seed N] [--at-least PERCENT] [--at-once N] [MODULES ...]

MODULES are paths that modules begin with, such as protocol/hpke (default: all of the product).
--sample is how many changes to try (60), --seed which ones (1), --at-once how many at a time (2).
Fails if fewer than --at-least (95) in a hundred are noticed.

Each change is tried in a copy of the checkout against the tests of its module, and, if those
notice nothing, against those that hold what the documents promise, and those that stand beside its
own (`scripts/mutation/mirror.py`). Not tried is what makes no difference to anybody
(`scripts/mutation/equivalent.toml`). Nothing of the checkout itself is changed. A test that
fails has to pass without the change; one that fails now and then makes this say that it noticed.
"""

import argparse
import compileall
import difflib
import json
import os
import py_compile
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.mutation.equivalent import Equivalents
from scripts.mutation.mirror import PACKAGES, neighbours, own_tests, promises
from scripts.mutation.mutants import Mutant, mutants
from scripts.mutation.warm import Warm

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(".mutate")  # where pytest keeps what failed
PYTEST = ("-x", "-q", "--tb=no", "-o", f"cache_dir={KEPT}")
NICENESS = 10
HANGING_SECONDS = 90.0  # after which it is measured how long the tests take without the change
CROWD = 4  # so much longer may those take that stand beside a module's own
SLOWER = 4.0  # than the unchanged product: so much longer they may take before they hang
SPARE_SECONDS = 60.0
UNCHANGED_SECONDS = 3600.0
HANGS = "nothing came to an end in time"


@dataclass(frozen=True, slots=True)
class Trial:
    """One change of one module, whose path is relative to the checkout."""

    module: Path
    source: bytes
    mutant: Mutant

    @property
    def difference(self) -> str:
        """The change as a unified diff."""
        texts = (self.source, self.mutant.applied(self.source))
        before, after = (text.decode().splitlines() for text in texts)
        name = str(self.module)
        return "\n".join(difflib.unified_diff(before, after, name, name, n=1, lineterm=""))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial: `noticed` is what failed, empty if nothing did.

    `unjudged` is what failed without the change as well.
    """

    trial: Trial
    noticed: str
    unjudged: str
    seconds: float

    @property
    def word(self) -> str:
        """Say it in short."""
        if self.unjudged:
            return f"NOT JUDGED, since without it {self.unjudged}"
        return self.noticed or "SURVIVED"


class UnchangedFails(Exception):
    """Tests fail without any change; the text says which."""


class Copy:
    """A copy of the checkout, in which one change at a time is tried.

    `usual` is what test files take without a change, in seconds; all copies know it.
    """

    def __init__(self, folder: Path, usual: dict[tuple[Path, ...], float]) -> None:
        self._folder = folder
        self._usual = usual
        for name in tracked():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        # Compiled files that are checked by their source's hash: its time and size may stay.
        checked = py_compile.PycInvalidationMode.CHECKED_HASH
        for package in (*PACKAGES, "scripts"):
            compileall.compile_dir(folder / package, quiet=2, invalidation_mode=checked)

        self._warm = Warm(folder)

    def close(self) -> None:
        """End the process in which tests run."""
        self._warm.close()

    def tested(self, tests: Sequence[Path | str], seconds: float) -> str:
        """Run test files, or single tests; return what failed, or an empty text."""
        shutil.rmtree(self._folder / KEPT, ignore_errors=True)
        code, said = self._warm.run([*PYTEST, *map(str, tests)], seconds)
        if code is None:
            return HANGS
        return failure(said) if code else ""

    def tried(self, trial: Trial) -> Outcome:
        """Make the change, run the tests that should notice it, and take it back."""
        begun, noticed, unjudged = time.monotonic(), "", ""
        try:
            for choose, crowd in ((own_tests, 1), (promises, 1), (neighbours, CROWD)):
                tests = choose(trial.module, self._folder)
                if tests and not noticed:
                    noticed = self._noticed(trial, tests, crowd * HANGING_SECONDS)
        except UnchangedFails as failing:
            unjudged = str(failing)
        return Outcome(trial, noticed, unjudged, time.monotonic() - begun)

    def _noticed(self, trial: Trial, tests: Sequence[Path], seconds: float) -> str:
        """Return what fails with a change and not without it, or an empty text."""
        known = tuple(tests) in self._usual
        seconds = self._patience(tests) if known else seconds
        noticed = self._changed(trial, tests, seconds)
        if noticed == HANGS:
            if (patience := self._patience(tests)) > seconds:
                noticed = self._changed(trial, tests, patience)
        # Whether it is the change: without it the same test has to pass.
        elif noticed and (failed := self.tested(self._failed() or tests, UNCHANGED_SECONDS)):
            raise UnchangedFails(failed)
        return noticed

    def _changed(self, trial: Trial, tests: Sequence[Path], seconds: float) -> str:
        path = self._folder / trial.module
        path.write_bytes(trial.mutant.applied(trial.source))
        try:
            return self.tested(tests, seconds)
        finally:
            path.write_bytes(trial.source)

    def _failed(self) -> list[str]:
        """Return the names of the tests that failed in the last run, as pytest takes them."""
        kept = self._folder / KEPT / "v/cache/lastfailed"
        return list(json.loads(kept.read_text())) if kept.is_file() else []

    def _patience(self, tests: Sequence[Path]) -> float:
        """Return how long test files may take, in seconds; raise UnchangedFails if one fails."""
        return SLOWER * self._usual_seconds(tests) + SPARE_SECONDS

    def _usual_seconds(self, tests: Sequence[Path]) -> float:
        """Run test files unchanged if nobody has; raise UnchangedFails if one fails."""
        key = tuple(tests)
        if key not in self._usual:
            begun = time.monotonic()
            if failed := self.tested(tests, UNCHANGED_SECONDS):
                raise UnchangedFails(failed)
            self._usual[key] = time.monotonic() - begun
        return self._usual[key]


def failure(said: str) -> str:
    """Return the line of pytest's output that tells what failed first."""
    lines = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0] if lines else said.strip()[-200:] or "the tests could not be run"


def tracked() -> list[str]:
    """Return the paths of the checkout's files, those that are not yet committed included."""
    listed = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    done = subprocess.run(listed, capture_output=True, check=True, text=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def sample(wanted: Sequence[str], size: int, seed: int) -> list[Trial]:
    """Return changes of the modules whose path begins as one of `wanted`, drawn at random.

    Drawn are places, each as likely as any other, and then one of the changes that fit it.
    """
    chance = random.Random(seed)  # noqa: S311 (nothing secret)
    equivalents = Equivalents.of(ROOT)
    places: dict[tuple[str, int, int], list[Trial]] = {}
    for name in sorted(tracked()):
        if name.endswith(".py") and name.startswith(tuple(wanted)):
            source = (ROOT / name).read_bytes()
            for each in equivalents.without(name, source, mutants(source)):
                place = places.setdefault((name, each.start, each.end), [])
                place.append(Trial(Path(name), source, each))
    drawn = chance.sample(sorted(places), min(size, len(places)))
    return [chance.choice(places[place]) for place in drawn]


def outcomes(trials: Sequence[Trial], at_once: int) -> Iterator[Outcome]:
    """Yield what becomes of each trial, in their order."""
    with tempfile.TemporaryDirectory(prefix="oblivious-mutate-") as name:
        usual: dict[tuple[Path, ...], float] = {}
        made = [Copy(Path(name) / str(number), usual) for number in range(at_once)]
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in made:
            copies.put(copy)

        def attempt(trial: Trial) -> Outcome:
            copy = copies.get()
            try:
                return copy.tried(trial)
            finally:
                copies.put(copy)

        try:
            with ThreadPoolExecutor(at_once) as pool:
                yield from pool.map(attempt, trials)
        finally:
            for copy in made:
                copy.close()


def main() -> int:
    """Run the command line; return 1 if fewer were noticed than asked for."""
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("wanted", nargs="*", default=PACKAGES, help="paths that modules begin with")
    parser.add_argument("--sample", type=int, default=60, help="how many changes (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (%(default)s)")
    parser.add_argument("--at-least", type=float, default=95.0, metavar="PERCENT")
    parser.add_argument("--at-once", type=int, default=2, help="how many at a time (%(default)s)")
    options = parser.parse_args()
    os.nice(NICENESS)
    trials = sample(options.wanted, options.sample, options.seed)
    noticed = judged = 0
    for number, outcome in enumerate(outcomes(trials, options.at_once), 1):
        noticed += bool(outcome.noticed)
        judged += not outcome.unjudged
        trial = outcome.trial
        where = f"{trial.module}:{trial.mutant.line} {trial.mutant.kind}"
        print(
            f"{number}/{len(trials)} {where}: {outcome.word} ({outcome.seconds:.0f} s)", flush=True
        )
        if not outcome.noticed:
            print(trial.difference, flush=True)
    print(f"{noticed} of {judged} changes were noticed, {len(trials) - judged} not judged")
    return int(100 * noticed < options.at_least * judged or not judged)


if __name__ == "__main__":
    sys.exit(main())
