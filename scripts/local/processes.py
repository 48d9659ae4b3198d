"""Processes under measurement: start, wait for readiness, CPU time and memory from /proc."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.local.stack import Child, silent

STOP_SECONDS = 10.0
CPU_CLOCK = 2
"""CPUCLOCK_SCHED of Linux: beside the complement of a process's number it names the clock of all
its threads, which counts nanoseconds; /proc tells hundredths of a second."""


@contextlib.contextmanager
def running(name: str, command: Sequence[str | Path]) -> Iterator[Child]:
    """Run a program of this project until the block ends; it has said that it is ready."""
    child = Child(name, command, {})
    try:
        child.wait_ready(silent)
        yield child
    finally:
        child.stop()


def listening(child: Child) -> str:
    """Return the tcp:// address that a program said it listens at."""
    return child.url.replace("http://", "tcp://")


def served_at(child: Child) -> str:
    """Return the address at which an enclave server said that it is ready."""
    events = (json.loads(line) for line in child.lines if line.startswith("{"))
    return str(next(event["address"] for event in events if event["event"] == "ready"))


def tree(pid: int) -> list[int]:
    """Return `pid` and every descendant of it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and all its living descendants have used."""
    total = 0.0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            total += time.clock_gettime(~each << 3 | CPU_CLOCK)
    return total


def memory_kib(pid: int) -> int:
    """Return the proportional set size of a process and all its descendants, in KiB."""
    total = 0
    for each in tree(pid):
        total += _own_kib(each)
    return total


def _own_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile, as readers do
        return 0
    except PermissionError:  # the server lets nobody but root look at it; its size is no secret
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return resident * resource.getpagesize() // 1024
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def settle() -> None:
    """Let what the last measurement left behind pass."""
    time.sleep(0.3)
