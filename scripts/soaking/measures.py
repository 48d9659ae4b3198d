"""What a process takes: memory of its own and shared, descriptors, threads, processor time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.local.processes import CPU_CLOCK

GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, slots=True)
class Measure:
    """One look at one process; sizes in KiB, processor time in seconds.

    `own_kib` is private memory without files; `shared_kib` is memory in no file that other
    processes have too, of which the table against replays is most.
    """

    role: str
    pid: int
    at: float
    own_kib: int
    shared_kib: int
    descriptors: int
    threads: int
    cpu: float


def measure(role: str, pid: int, at: float) -> Measure | None:
    """Look at a process; None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        status = _fields((folder / "status").read_text())
        descriptors = len(list((folder / "fd").iterdir()))
        cpu = time.clock_gettime(~pid << 3 | CPU_CLOCK)
    except (*GONE, OSError):
        return None
    if "RssAnon" not in status:  # it has ended, and nobody has waited for it yet
        return None
    own, shared, threads = (status[name] for name in ("RssAnon", "RssShmem", "Threads"))
    return Measure(role, pid, at, own, shared, descriptors, threads, cpu)


def _fields(text: str) -> dict[str, int]:
    """Return the numbers of /proc/PID/status."""
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        with contextlib.suppress(ValueError, IndexError):
            fields[name] = int(value.split()[0])
    return fields


def look(pids: Mapping[str, Sequence[int]], at: float) -> list[Measure]:
    """Look at all processes of all roles."""
    found = (measure(role, pid, at) for role, each in pids.items() for pid in each)
    return [one for one in found if one is not None]


def cpu_total(measures: Sequence[Measure]) -> float:
    """Return the processor time of all processes that were seen: what each had used at last."""
    last = {each.pid: each.cpu for each in measures}
    return sum(last.values())


@dataclass(frozen=True, slots=True)
class Growth:
    """How the memory of one process changed from its `since`th second on."""

    role: str
    pid: int
    since: float
    seconds: float
    first_kib: int
    last_kib: int

    @property
    def share(self) -> float:
        """The change, as a share of what it had."""
        return self.last_kib / self.first_kib - 1


def growths(measures: Sequence[Measure], settled: float, least: float, filled: int) -> list[Growth]:
    """Return what each process grew by once it was `settled` seconds old.

    A worker has settled when its table against replays has `filled` KiB as well: by then it has
    seen the thousands of questions after which its heap has the size that it keeps. Processes of
    which less than `least` seconds were seen after that are left out.
    """
    lives: dict[tuple[str, int], list[Measure]] = {}
    for each in measures:
        lives.setdefault((each.role, each.pid), []).append(each)
    found = []
    for (role, pid), life in lives.items():
        needed = filled if role == "worker" else 0
        late = [each for each in life if each.at >= life[0].at + settled]
        late = [each for each in late if each.shared_kib >= needed]
        if late and late[-1].at - late[0].at >= least:
            seconds = late[-1].at - late[0].at
            sizes = (late[0].own_kib, late[-1].own_kib)
            found.append(Growth(role, pid, late[0].at - life[0].at, seconds, *sizes))
    return found
