"""How many tokens of each key were sold: the crowd that a token of it is in, for all to see.

What is told is as of the last full hour, and rounded down: whoever watched exact counts as they
grow would learn of each purchase, and when it was made.
"""

from collections.abc import Mapping
from typing import Any

from token_issuer.administration import issued_by_key
from token_issuer.key_ring import KeyRing
from token_issuer.ledger import Ledger

CROWD_SECONDS = 3600
"""For which what is told stays the same."""

CROWD_STEP = 10
"""The least to a multiple of which a count is rounded down; larger ones keep two digits."""


class Sold:
    """Counts what was sold of each key before an hour began, once for that hour.

    Anybody may ask, and to count takes the longer the more purchases there are.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counted: tuple[int, Mapping[str, int]] | None = None

    def before(self, time: int) -> Mapping[str, int]:
        """Return how many tokens were sold before a time, by hexadecimal identifiers of keys."""
        if self._counted is None or self._counted[0] != time:
            self._counted = time, issued_by_key(self._ledger, before=time)
        return self._counted[1]


def crowd(sold: Sold, ring: KeyRing, now: float) -> dict[str, Any]:
    """Return the members of the answer; times are in Unix seconds.

    Those keys are told of that have begun to sign and are not destroyed.
    """
    told_at = int(now - now % CROWD_SECONDS)
    counts = sold.before(told_at)
    begun = [each.entry for each in ring.keys if each.entry.epoch.issue_from <= now]
    return {
        "as_of": told_at,
        "keys": [
            {
                "price": str(entry.price),
                "token_key_id": entry.key.key_id.hex(),
                "issue_from": entry.epoch.issue_from,
                "issue_until": entry.epoch.issue_until,
                "at_least": rounded(counts.get(entry.key.key_id.hex(), 0)),
            }
            for entry in begun
        ],
    }


def crowd_seconds(now: float) -> int:
    """Return for how long the answer may be kept."""
    return CROWD_SECONDS - int(now % CROWD_SECONDS)


def rounded(count: int) -> int:
    """Return a count rounded down."""
    digits = len(str(count))
    step: int = max(CROWD_STEP, 10 ** max(0, digits - 2))
    return count - count % step
