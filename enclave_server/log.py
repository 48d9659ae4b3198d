"""Structured lines about what happened, never about what was said.

One JSON object a line. Requests are not logged one by one: a line for each would let whoever
reads the log line up arrivals here with arrivals at a relay. They are counted by outcome class
(route name and status), and each class is one line of a report.
"""

import contextlib
import json
import re
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

# What our own code has to say: names, addresses, figures. Anything else is replaced, so that
# content that strays into a field by mistake cannot be read back from the log.
_PLAIN = re.compile(r"[A-Za-z0-9_.:/\[\]@+=-]{0,200}", re.ASCII)
_REPLACEMENT = "?"

Value = str | int | float | bool | None


@dataclass(slots=True)
class _Tally:
    """Sums over the requests of one outcome class since the last report."""

    count: int = 0
    received: int = 0
    sent: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class Log:
    """Writes events at once and tallies of requests when asked to report."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.time, **context: Value
    ) -> None:
        """`context` (a worker's number, say) is added to every line."""
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._context = context
        self._tallies: dict[tuple[str, int], _Tally] = {}
        self._counts: dict[str, int] = {}

    def event(self, name: str, **fields: Value) -> None:
        """Write one line: a name of ours with counts, sizes, durations and outcome classes."""
        values: dict[str, Value] = {"event": name, **self._context, **fields}
        line = {"time": round(self._clock(), 3)} | {k: _plain(v) for k, v in values.items()}
        # A reader of the log that went away, or stands still, is no reason to stop serving.
        with contextlib.suppress(OSError):
            if _has_room(self._stream):
                self._stream.write(json.dumps(line) + "\n")
                self._stream.flush()

    def request(self, route: str, status: int, received: int, sent: int, seconds: float) -> None:
        """Count a request: octets of both bodies, seconds from its end to that of its answer."""
        tally = self._tallies.get((route, status))
        if tally is None:
            tally = self._tallies[route, status] = _Tally()
        tally.count += 1
        tally.received += received
        tally.sent += sent
        tally.seconds += seconds
        tally.longest = max(tally.longest, seconds)

    def count(self, name: str) -> None:
        """Count an event of that name; the next report has the sum."""
        self._counts[name] = self._counts.get(name, 0) + 1

    def report(self) -> None:
        """Write one line for each outcome class and count since the last report; start anew."""
        counts, self._counts = self._counts, {}
        for name, count in sorted(counts.items()):
            self.event(name, count=count)
        tallies, self._tallies = self._tallies, {}
        for (route, status), tally in sorted(tallies.items()):
            self.event(
                "requests",
                route=route,
                status=status,
                count=tally.count,
                received_bytes=tally.received,
                sent_bytes=tally.sent,
                mean_ms=round(1000 * tally.seconds / tally.count, 3),
                longest_ms=round(1000 * tally.longest, 3),
            )


def _has_room(stream: TextIO) -> bool:
    """Whether a line can be written without waiting; a pipe that says so has room for 4 KiB."""
    try:
        descriptor = stream.fileno()
    except OSError:  # io.UnsupportedOperation: it is in memory
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


def _plain(value: Value) -> Value:
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return _REPLACEMENT
    return value
