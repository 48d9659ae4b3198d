"""One harness tried: run in a process of its own, and what broke it made short and readable."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.fuzzing.corpus import Store
from scripts.fuzzing.engines import HUNG_SECONDS, Counts, counts
from scripts.fuzzing.harnesses import ROOT
from scripts.fuzzing.worker import HOLDS, MINIMISING_SECONDS, SHORTEST

START_SECONDS = 600.0
"""To start a worker on a machine that has other things to do."""
SHOWN_BYTES = 512
DONE = "\tDONE "


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a harness: its counts, and what is to be said of each input that broke it."""

    name: str
    counts: Counts
    broken: tuple[str, ...] = ()

    def then(self, later: "Outcome") -> "Outcome":
        """Return what came of this run and of a later one."""
        return Outcome(self.name, self.counts.then(later.counts), self.broken + later.broken)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker ended, -1 if it had to be, and what it wrote."""

    status: int
    output: str
    errors: str

    @property
    def is_late(self) -> bool:
        """Whether a run was over and libFuzzer's own alarm, which it leaves set, came after it."""
        return self.status == -signal.SIGALRM and DONE in self.errors


def tried(name: str, root: Path, seconds: float, seed: int) -> Outcome:
    """Run one harness for `seconds`; what broke it before is tried first."""
    store = Store(root, name)
    if kept := tuple(_breakages(name, root, store)):
        return Outcome(name, Counts(), kept)
    arguments = ("--seconds", str(seconds), "--seed", str(seed))
    ended = _worker(name, root, arguments, seconds + HUNG_SECONDS)
    store.log.write_text(ended.errors)
    broken = tuple(_breakages(name, root, store))
    if ended.status and not broken and not ended.is_late:
        broken = (f"{name}: it ended with {ended.status}, and no input says why: see {store.log}",)
    return Outcome(name, counts(ended.errors), broken)


def _breakages(name: str, root: Path, store: Store) -> Iterator[str]:
    """Say what the kept inputs break, each made shorter; one that breaks nothing is no crash."""
    for path in store.broken():
        if path.name.startswith(SHORTEST):
            path.unlink()  # which is made anew
            continue
        ended = _worker(name, root, ("--shorten", str(path)), 2 * MINIMISING_SECONDS)
        if ended.status == HOLDS:
            path.replace(store.corpus / path.name)
        elif ended.status == 0:
            broken, shortest = ended.output.splitlines()[-2:]
            yield _said(name, broken, Path(shortest))
        else:  # no exception to compare with
            yield _said(name, f"the process ends with {ended.status}, or does not end", path)


def _said(name: str, broken: str, path: Path) -> str:
    data = path.read_bytes()
    shown = data[:SHOWN_BYTES].hex() + ("…" if len(data) > SHOWN_BYTES else "")
    return f"{name}: {broken}\n    hex {shown}\n    scripts/fuzz {name} --input {path}"


def _worker(name: str, root: Path, arguments: tuple[str, ...], seconds: float) -> Ended:
    command = [sys.executable, "-m", "scripts.fuzzing.worker", name, str(root), *arguments]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds + START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            return Ended(-1, output, errors)
        return Ended(process.returncode, output, errors)
