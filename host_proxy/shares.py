"""Who may open one more connection: each route keeps a share that the others cannot take."""

from collections.abc import Sequence
from typing import Final, Protocol

GUARANTEED: Final = 2  # one part in so many of the connections is shared out, the rest is free


class Holder(Protocol):
    """What holds connections."""

    @property
    def active(self) -> int:
        """How many it holds."""


class Shares:
    """The cap on all connections together, at least as high as there are holders.

    Idle clients can fill what is free and their own share; what the enclave needs to ask a
    provider remains, and one provider that never answers leaves the others theirs.
    """

    __slots__ = ("_cap", "_holders")

    def __init__(self, cap: int, holders: Sequence[Holder]) -> None:
        self._cap = cap
        self._holders = holders

    def may_open(self, holder: Holder) -> bool:
        """Whether one more connection leaves room for the shares of the others."""
        share = max(1, self._cap // (GUARANTEED * len(self._holders)))
        taken = sum(
            other.active if other is holder else max(share, other.active) for other in self._holders
        )
        return taken < self._cap
