"""What a request is paid with, from its price to what its client is told of its token.

Whoever asks has one of these for each request, which ends in one of two ways: something of the
answer is there, and the token is spent; or the upstream failed before, and it is given back. A
client that goes away while its upstream works spends the token: that work is paid for.
"""

from typing import Protocol

from enclave_server.chat.errors import INVALID_REQUEST, ChatError, Failure, UpstreamError
from enclave_server.payment.gate import Gate, Presented
from enclave_server.payment.hold import Hold, State
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.payment.tally import Outcome, Tally
from protocol.binary_http import Fields
from protocol.token_prices import PricePoint

REJECTED_SECONDS = 10.0
"""Before a token is free that paid for a request which its upstream called wrong: so nobody can
hammer a provider with one token for nothing. Of a store on the host it comes with the next flush,
as every token that comes back does, so that nobody there sees which were these."""

PROVOKED = frozenset(
    {Failure.REJECTED, Failure.TOO_LONG, Failure.FILTERED, Failure.TOOL_USE_FAILED}
)
"""What a request brings about by what it says; of the last its model has even written an answer."""

STATUS = b"privatetoken-status"
SPENT, RETURNED = "spent", "returned"
NO_RETRY = (b"x-should-retry", b"false")
"""Programs that retry by themselves obey it; each retry would cost another token."""

_RETRIED = frozenset({Refusal.IN_USE, Refusal.UNAVAILABLE})


class Payment(Protocol):
    """What pays for one request."""

    @property
    def fields(self) -> Fields:
        """What a whole answer says of the token."""
        ...

    def begin(self) -> None:
        """Note that something of the answer is there; again and again, if it must be."""
        ...

    def fail(self, error: BaseException) -> None:
        """Note that there will be no answer, or no more of it."""
        ...

    @property
    def status(self) -> str | None:
        """What became of the token, as its client is told."""
        ...


class Unpaid:
    """Of a request that costs nothing."""

    fields: Fields = ()
    status: str | None = None

    def begin(self) -> None:
        """Do nothing."""

    def fail(self, error: BaseException) -> None:
        """Do nothing."""


UNPAID = Unpaid()


class Paid:
    """Of a request for which a token is held."""

    __slots__ = ("_hold", "_tally")

    def __init__(self, hold: Hold, tally: Tally) -> None:
        self._hold, self._tally = hold, tally

    @property
    def fields(self) -> Fields:
        """What a whole answer says of the token."""
        return ((STATUS, self.status.encode()),)

    @property
    def status(self) -> str:
        """What became of the token, as its client is told."""
        return RETURNED if self._hold.state is State.FREE else SPENT

    def begin(self) -> None:
        """Spend the token, unless it is spent."""
        if self._hold.state is State.HELD:
            self._hold.commit()
            self._tally.count(Outcome.REDEEMED)

    def fail(self, error: BaseException) -> None:
        """Give the token back if its upstream failed before anything was there, else spend it."""
        if self._hold.state is State.HELD and isinstance(error, UpstreamError):
            self._hold.give_back(REJECTED_SECONDS if error.failure in PROVOKED else 0.0)
            self._tally.count(Outcome.RETURNED)
        self.begin()


def tell(error: ChatError, payment: Payment) -> None:
    """Have the answer that is a failure say what became of the token."""
    again = (NO_RETRY,) if payment.status == SPENT else ()
    error.fields = (*error.fields, *payment.fields, *again)


def too_large(param: str) -> ChatError:
    """Return the error for a request that no token is large enough for, because of `param`."""
    return _error(Refusal.BUDGET, (), param)


def presented_units(presented: Presented | None) -> int | None:
    """Return what the token costs that a request presents; nothing is verified of it."""
    if presented is None or presented.price is None:
        return None
    return presented.price.units


async def pay(gate: Gate | None, presented: Presented | None, units: int | None) -> Payment:
    """Hold the token that a request presents for what it costs; raises ChatError.

    Of what is free, or where nobody pays, no token is looked at.
    """
    if gate is None or presented is None or units is None:
        return UNPAID
    try:
        return Paid(await gate.hold(presented, PricePoint(units)), gate.tally)
    except Refused as refused:
        raise _error(refused.refusal, refused.fields) from None


def _error(refusal: Refusal, fields: Fields, param: str | None = None) -> ChatError:
    again = () if refusal in _RETRIED else (NO_RETRY,)
    return ChatError(
        refusal.status,
        refusal.text,
        kind=INVALID_REQUEST if refusal.status < 500 else "server_error",
        param=param,
        code=refusal.code,
        fields=(*fields, *again),
    )
