"""How often tokens were taken, given back and refused: told rarely, and never of a few.

The host reads the log. Each hour, of at least so many outcomes that none is somebody's; fewer are
carried over to the next hour. It is not told of which price they were.
"""

import enum
from collections import Counter
from collections.abc import Callable, Mapping

REPORT_SECONDS = 3600.0
LEAST = 50


class Outcome(enum.Enum):
    """What became of a token."""

    __hash__ = object.__hash__  # that of Enum is Python's, and each request asks for it

    REDEEMED = "redeemed"
    RETURNED = "returned"
    REFUSED_SPENT = "refused_spent"
    REFUSED_INVALID = "refused_invalid"
    REFUSED_SMALL = "refused_small"
    STORE_FAILED = "store_failed"


class Tally:
    """Counts outcomes until there are enough of them to be told."""

    __slots__ = ("_counts", "_tell")

    def __init__(self, tell: Callable[[Mapping[str, int]], None]) -> None:
        """`tell` takes the count of each outcome by its name."""
        self._tell = tell
        self._counts: Counter[Outcome] = Counter()

    def count(self, outcome: Outcome) -> None:
        """Count one."""
        self._counts[outcome] += 1

    def report(self) -> None:
        """Tell the counts and start anew if there are enough, else go on."""
        if self._counts.total() < LEAST:
            return
        counts, self._counts = self._counts, Counter()
        self._tell({outcome.value: counts[outcome] for outcome in Outcome})
