"""What is known of a payment that somebody presented, and why nothing can be done with it now."""

import secrets
from dataclasses import dataclass, field

KIND = "x402"
"""Of the entries of what was paid."""

HOLD_SECONDS = 40
"""For which one process is at a payment: longer than it may take over a request."""

CROWDED_SECONDS = 5
"""What is said to wait to who comes while too many pay."""

OPEN, CREDITED, REFUSED, UNCLEAR = "open", "credited", "refused", "unclear"
"""States. `unclear` is what a facilitator refuses that may have been paid before: for a person."""

UNDECIDED = (OPEN, UNCLEAR)


class Occupied(Exception):
    """Somebody else is at it, or too many are; come back after some seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Unclear(Exception):
    """Nobody can say whether it was paid, until the operator has looked."""


class OtherAccount(Exception):
    """The payment is bound to another account."""


class OverFull(Exception):
    """The balance would be more than a ledger holds."""


class NoIntent(Exception):
    """There is no such payment, or not in a state in which that can be done."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment that this process holds."""

    reference: str
    secret_hash: bytes = field(repr=False)
    units: int
    ends: int
    in_doubt: bool
    """Whether it was sent to be settled before."""
    holder: str = field(repr=False)
    document: str = field(repr=False)
    terms: str = field(repr=False)
    was_refused: bool = field(default=False, compare=False)
    """Whether it was presented and sent before, and refused then."""


@dataclass(frozen=True, slots=True)
class Credited:
    """A payment that counted: for which account, and by which transaction."""

    account: int
    units: int
    transaction: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What an operator sees of an intent; times are Unix seconds."""

    reference: str
    state: str
    in_doubt: bool
    units: int
    at: int
    ends: int
    transaction: str

    @property
    def is_decided(self) -> bool:
        """Whether it is known what came of it."""
        return self.state not in UNDECIDED


def new_intent(
    reference: str, secret_hash: bytes, units: int, ends: int, document: str, terms: str
) -> Intent:
    """Return an intent to present."""
    return Intent(reference, secret_hash, units, ends, False, new_holder(), document, terms)


def new_holder() -> str:
    """Return a name for who holds one."""
    return secrets.token_hex(16)
