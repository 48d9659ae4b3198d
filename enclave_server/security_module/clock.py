"""Whether the clock can be believed: it is compared with clocks that others keep.

The security module dates its documents by a clock that the host cannot set. The PTP device of the
hypervisor is a second opinion, where there is one. Dates of requests, the life of keys and the
validity of certificates rest on the clock: a server whose clock is plainly wrong does not serve.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

MAX_SKEW_SECONDS = 60.0
"""More than any drift between two checks, and than the 37 seconds between UTC and TAI, in which
some devices count; less than the window for the dates of requests."""

PTP_CLOCKS = frozenset({"KVM virtual PTP", "vmclock"})
"""Clocks that a hypervisor keeps. Those of network cards may show any time."""


class ClockError(Exception):
    """The clock is plainly wrong; the text says by how much."""


def check_clock(now: float, references: Mapping[str, float]) -> None:
    """Raise ClockError if `now` is far from any of the named times (all in Unix seconds)."""
    for name, reference in references.items():
        skew = now - reference
        if abs(skew) > MAX_SKEW_SECONDS:
            side = "ahead of" if skew > 0 else "behind"
            raise ClockError(
                f"the clock is {abs(skew):.0f} seconds {side} the {name}; set it and start again"
            )


def ptp_time(system: Path = Path("/")) -> float | None:
    """Return the time of the hypervisor's PTP device, or None where there is none to read."""
    for entry in sorted((system / "sys/class/ptp").glob("ptp*")):
        try:
            if (entry / "clock_name").read_text().strip() in PTP_CLOCKS:
                return _read_clock(system / "dev" / entry.name)
        except OSError:
            continue
    return None


def _read_clock(device: Path) -> float:
    fd = os.open(device, os.O_RDONLY)
    try:
        return time.clock_gettime((~fd << 3) | 3)  # FD_TO_CLOCKID of linux/posix-timers.h
    finally:
        os.close(fd)
