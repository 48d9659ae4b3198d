"""What makes inputs: atheris, guided by the coverage of our code, or the plain mutator.

Both write what they did to standard error in the form of libFuzzer, which `counts` reads.
"""

import importlib.util
import math
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain

from scripts.fuzzing.corpus import Store, write
from scripts.fuzzing.harnesses import Harness, load
from scripts.fuzzing.minimise import breakage
from scripts.fuzzing.mutator import mutations

GUIDED_PACKAGE = "atheris"
COVERED = [
    *("protocol", "enclave_server", "host_proxy", "oblivious_client", "scripts.image"),
    *("tomllib", "httpx._urlparse"),  # which decide what of a text comes through to ours
]

INPUT_SECONDS = 30
"""Of the processor, for one input: a thousand times what the slowest takes. It does not matter what
others do on the machine."""
HUNG_SECONDS = 1200
"""For one input by the clock on the wall, libFuzzer's alarm: for what hangs, or loops where no
signal comes through to Python. A machine on which others go first is not as slow as that."""
RESIDENT_MIB = 1024
CRASH = "crash-"

_STATUS = re.compile(
    r"#(?P<executions>\d+)\s+(?:DONE|\w+)\s+(?:cov: (?P<edges>\d+) )?(?:ft: (?P<features>\d+) )?"
    r"corp: (?P<corpus>\d+)"
)
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run did; edges and features are of the guided engine alone."""

    executions: int = 0
    corpus: int = 0
    edges: int | None = None
    features: int | None = None

    def then(self, later: "Counts") -> "Counts":
        """Return the counts of this run and a later one together."""
        return Counts(self.executions + later.executions, later.corpus, later.edges, later.features)


@dataclass(frozen=True, slots=True)
class Task:
    """A run: of which harness, where its inputs are, until which moment, from which random seed.

    The moment is one of `time.monotonic`; where starting has taken so long that it has passed,
    `least` seconds are left all the same.
    """

    name: str
    store: Store
    until: float
    seed: int
    least: float = 1.0

    def left(self, now: float) -> float:
        """Return the seconds that are left to try inputs."""
        return max(self.least, self.until - now)


def is_guided() -> bool:
    """Whether atheris is installed; it is built for Linux on x86-64 alone."""
    return importlib.util.find_spec(GUIDED_PACKAGE) is not None


def description() -> str:
    """Return the name of the engine that is used here."""
    if is_guided():
        return f"{GUIDED_PACKAGE} {version(GUIDED_PACKAGE)}, guided by coverage"
    return f"plain mutator, guided by nothing, since {GUIDED_PACKAGE} is not installed"


def fuzz(task: Task) -> int:
    """Run the engine there is; return, or end this process with, 0 only if nothing broke."""
    if is_guided():
        return _guided(task)
    return plain(load(task.name), task)


def _guided(task: Task) -> int:
    import atheris  # where it is installed

    with atheris.instrument_imports(include=COVERED):
        harness = load(task.name)
    task.store.renew_seeds(harness.beginnings())
    options = {
        "max_total_time": math.ceil(task.left(time.monotonic())),  # 0 would be for ever
        "seed": task.seed,
        "max_len": harness.max_bytes,
        "timeout": HUNG_SECONDS,
        "rss_limit_mb": RESIDENT_MIB,
        "dict": task.store.words,
        "artifact_prefix": f"{task.store.crashes}/",
        "print_final_stats": 1,
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    folders = [str(task.store.corpus), str(task.store.seeds)]
    atheris.Setup([task.name, *arguments, *folders], in_time(harness.run))
    atheris.Fuzz()  # which ends this process
    return 0


def plain(harness: Harness, task: Task, clock: Callable[[], float] = time.monotonic) -> int:
    """Run the plain mutator; return 1 if something broke, whose input is written."""
    task.store.renew_seeds(harness.beginnings())
    inputs, executions, broken = task.store.inputs(), 0, None
    until = (now := clock()) + task.left(now)
    for data in chain(inputs, mutations(inputs, task.seed, harness.max_bytes)):
        if clock() >= until and executions >= len(inputs):
            break
        executions += 1
        if (broken := breakage(in_time(harness.run), data)) is not None:
            path = write(task.store.crashes, data, CRASH)
            print(f"{broken}: {path}", file=sys.stderr)
            break
    print(f"#{executions} DONE corp: {len(inputs)}", file=sys.stderr)
    return 0 if broken is None else 1


def in_time(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return what `run` does, with an error if it takes too much of the processor's time.

    Not an alarm: that counts what others have of the processor, and its signal is libFuzzer's.
    """

    def limited(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, INPUT_SECONDS)
        try:
            run(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, _too_slow)
    return limited


def _too_slow(number: int, frame: object) -> None:
    raise TimeoutError(f"an input takes more than {INPUT_SECONDS} seconds of the processor")


def counts(said: str) -> Counts:
    """Return what an engine wrote about a run."""
    found = list(_STATUS.finditer(said))
    if not found:
        return Counts()
    last = found[-1]
    executed = _EXECUTED.findall(said)
    return Counts(
        int(executed[-1] if executed else last["executions"]),
        int(last["corpus"]),
        _number(last["edges"]),
        _number(last["features"]),
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
