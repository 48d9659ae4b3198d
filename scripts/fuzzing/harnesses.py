"""The harnesses: each file `tests/fuzz/fuzz_NAME.py` is one, called NAME.

A harness has `run`, which raises when a property does not hold for an input, `seeds`, which returns
inputs to begin with, and `FAULTS`, each of which `run` has to notice. It may set `MAX_BYTES`.
"""

import importlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "fuzz"
PACKAGE = "tests.fuzz"
PREFIX = "fuzz_"

MAX_BYTES = 2048
"""Of an input: parsers are also fed octet by octet, and what is rare is short."""


class Fault(Protocol):
    """Something that is wrong with the product while it is applied."""

    def applied(self) -> AbstractContextManager[object]:
        """Return a context in which the product has this fault."""
        ...


@dataclass(frozen=True, slots=True)
class Harness:
    """A property that holds for every input, the inputs to begin with, and the largest one.

    Each of its faults is one that some input shows.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    max_bytes: int = MAX_BYTES
    faults: Sequence[Fault] = ()

    def beginnings(self) -> list[bytes]:
        """Return the seeds that are short enough, each once, in one order."""
        return sorted({seed for seed in self.seeds() if len(seed) <= self.max_bytes})


def names() -> list[str]:
    """Return the names of all harnesses."""
    return sorted(path.stem.removeprefix(PREFIX) for path in FOLDER.glob(f"{PREFIX}*.py"))


def load(name: str) -> Harness:
    """Return the harness of that name, which is imported now."""
    module = importlib.import_module(f"{PACKAGE}.{PREFIX}{name}")
    max_bytes = getattr(module, "MAX_BYTES", MAX_BYTES)
    return Harness(name, module.run, module.seeds, max_bytes, module.FAULTS)
