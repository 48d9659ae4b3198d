"""Counts what a call does, so that work can be bounded without a clock."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

TraceFunction = Callable[[FrameType, str, Any], Any]


class TooMuch(Exception):
    """A call does more than it may."""


def bound(call: Callable[[], object], most: int) -> int:
    """Return how many lines of Python `call` runs; TooMuch as soon as there are more than most."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal count
        count += 1
        if count > most:
            raise TooMuch(f"more than {most} lines")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
