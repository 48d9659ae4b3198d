"""Counts what a call does, so that work can be compared without a clock."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

TraceFunction = Callable[[FrameType, str, Any], Any]


def operations(call: Callable[[], object]) -> int:
    """Return how many lines of Python `call` runs, and how many functions it calls in C."""
    count = 0

    def line(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal count
        count += 1
        return line

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(line)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count
