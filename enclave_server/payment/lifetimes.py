"""How long a token is held, and until when it is known as spent."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol.token_catalogue import Epoch

KEPT_SECONDS = 600
"""After the last moment at which it could be taken, whichever enclave's clock says so."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The lease of a hold in whole seconds, and the epochs of all tokens that are taken."""

    lease: int
    epochs: tuple[Epoch, ...]
    _since: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)
    """From when on, and until when, what is spent is kept; the latest first."""

    def __post_init__(self) -> None:
        begins = sorted({epoch.issue_from - KEPT_SECONDS for epoch in self.epochs}, reverse=True)
        since = tuple((begin, self._kept_until(begin)) for begin in begins)
        object.__setattr__(self, "_since", since)

    @property
    def ends(self) -> frozenset[int]:
        """All times until which spent tokens are kept."""
        return frozenset(_end(epoch) for epoch in self.epochs)

    def kept_until(self, now: float) -> int:
        """Return until when a token that is spent at `now` is kept, whatever its own epoch.

        It is the same for all, so that no store learns of which epoch a token is.
        """
        for begin, until in self._since:
            if begin <= now:
                return until
        return max(map(_end, self.epochs))

    def _kept_until(self, now: float) -> int:
        begun = [epoch for epoch in self.epochs if epoch.issue_from - KEPT_SECONDS <= now]
        return max(map(_end, begun))


def epochs_of(keys: Iterable[Epoch]) -> tuple[Epoch, ...]:
    """Return each epoch once, in order."""
    return tuple(sorted(set(keys)))


def _end(epoch: Epoch) -> int:
    return epoch.redeem_until + KEPT_SECONDS
