"""One JSON line for each event on standard error; never anything that was carried."""

import contextlib
import json
import select
import sys
import time
from collections.abc import Callable
from math import inf
from typing import Final, TextIO

SELDOM_SECONDS: Final = 1.0


def log(event: str, **fields: object) -> None:
    """Write an event with its figures."""
    line = {"time": round(time.time(), 3), "event": event, **fields}
    with contextlib.suppress(OSError):  # nobody reads the log any more: go on carrying
        if _has_room(sys.stderr):
            sys.stderr.write(json.dumps(line, separators=(",", ":")) + "\n")
            sys.stderr.flush()


class Seldom:
    """An event that may come thousands of times a second: one line a second, with a count."""

    __slots__ = ("_clock", "_count", "_event", "_quiet_until")

    def __init__(self, event: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._event = event
        self._clock = clock
        self._count = 0
        self._quiet_until = -inf

    def tell(self) -> None:
        """Count, and write a line unless one was written within the last second."""
        self._count += 1
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + SELDOM_SECONDS
            log(self._event, times=self._count)
            self._count = 0


def _has_room(stream: TextIO) -> bool:
    """Whether a line can be written without waiting; a pipe that says so has room for 4 KiB."""
    try:
        descriptor = stream.fileno()
    except OSError:  # io.UnsupportedOperation: it is in memory
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))
