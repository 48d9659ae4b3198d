"""What a store of spent tokens does: three steps, of which each token takes two.

hold                 commit
FREE ──────▶ HELD ──────────▶ SPENT, until no token of its time is taken any more
  ▲           │ │
  └───────────┘ └── its lease is over ──▶ FREE
  give_back
"""

from typing import Protocol


class Store(Protocol):
    """Knows tokens by their nullifiers. What was held is settled with the ticket of its hold."""

    async def hold(self, nullifier: bytes) -> bytes:
        """Hold a token that is free; return the ticket of the hold.

        Raises Refused: IN_USE, SPENT or UNAVAILABLE. Then nothing is held, or it is given back.
        """
        ...

    def commit(self, nullifier: bytes, ticket: bytes) -> None:
        """Spend what is held, soon; also if its lease is over by then."""
        ...

    def give_back(self, nullifier: bytes, ticket: bytes, after: float = 0.0) -> None:
        """Free what is held under this ticket alone, `after` so many seconds.

        A store that others watch frees it with what it commits, so that no time tells why.
        """
        ...

    async def close(self) -> None:
        """Do what is left to be done, as far as that is possible now."""
        ...
