"""Selling packs of units for payments by x402: what is asked, and a payment's way to the ledger.

A buyer makes the secret of a voucher, or has one, and presents a payment with it. In this order:
the payment is read and held against the terms; bound to the account; verified; written down as
sent; settled; credited. What stops in between is taken up by the next request of the same account,
or by `token-issuer payments reconcile`, and a payment counts once however often it is taken up.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from token_issuer.account_secret import secret_digest
from token_issuer.intent import (
    Credited,
    Intent,
    NoIntent,
    Occupied,
    OtherAccount,
    OverFull,
    Unclear,
    new_intent,
)
from token_issuer.intents import Intents
from token_issuer.ledger import Ledger
from token_issuer.log import Log
from token_issuer.refusals import Refusal, unauthorized
from token_issuer.settings import X402Settings
from token_issuer.x402_facilitator import (
    Facilitator,
    FacilitatorSilent,
    payment_required_field,
    payment_response_field,
)
from token_issuer.x402_payment import Payment, PaymentRefused, Terms, read_payment

PATH = "/payments/x402"

ALREADY_USED = ("invalid_exact_evm_nonce_already_used",)
"""Of codes: the chain has taken this payment, or its payer has withdrawn it. It may have paid."""


@dataclass(frozen=True, slots=True)
class Sale:
    """What a buyer is told who has paid."""

    account: int
    units: int
    field: str
    """The value of PAYMENT-RESPONSE."""


class Desk:
    """Takes payments for one ledger; for one process."""

    def __init__(
        self,
        settings: X402Settings,
        ledger: Ledger,
        facilitator: Facilitator,
        *,
        at_once: int,
        log: Log | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`at_once` payments may be under way, by all processes together."""
        self._settings = settings
        self._ledger = ledger
        self._facilitator = facilitator
        self._intents = Intents(ledger, at_once)
        self._log = log or Log()
        self._clock = clock
        self._packs: Mapping[str, int] = {str(units): units for units in settings.packs}

    def sell(self, pack: str, secret: str | None, field: str | None) -> Sale:
        """Return what was sold; Refusal otherwise, with 402 for what is still to be paid.

        `secret` is an account's or a voucher's to be; `field` is PAYMENT-SIGNATURE. A payment of
        the same account that is not decided is taken up before another is asked for.
        """
        units = self._packs.get(pack)
        if units is None:
            raise Refusal(HTTPStatus.NOT_FOUND)
        if field is None:
            return self._ask(units, secret)
        if secret is None:
            raise unauthorized()
        terms = self._terms(units)
        try:
            payment = read_payment(field, terms, self._clock())
            return self._pay(payment, terms, units, secret_digest(secret))
        except PaymentRefused as refused:
            self._log.event("payment_refused", what=refused.code)
            raise self._wanted(units, refused.code) from None

    def reconcile(self) -> Iterator[tuple[str, str]]:
        """Take up what was left open; yield each reference, and what came of it."""
        for reference in self._intents.abandoned(self._clock()):
            yield reference, self._outcome(reference)

    def _outcome(self, reference: str) -> str:
        try:
            intent = self._intents.resume(reference, self._clock())
            sold = self._carry_on(intent)
        except PaymentRefused as refused:
            return f"not paid: {refused.code}"
        except FacilitatorSilent:
            return "the facilitator does not say"
        except (Occupied, NoIntent):
            return "somebody else is at it"
        except Unclear:
            return "unclear: look at the chain, then `payments credit` or `payments refuse`"
        return f"credited {sold.units} units to account {sold.account}"

    def _ask(self, units: int, secret: str | None) -> Sale:
        """Take up what is undecided of the account; else ask for a payment."""
        if secret is None:
            raise self._wanted(units)
        digest = secret_digest(secret)
        self._check_account(digest)
        reference = self._intents.undecided(digest)
        if reference is None:
            raise self._wanted(units)
        try:
            return self._settled(lambda: self._intents.resume(reference, self._clock()))
        except (PaymentRefused, NoIntent):
            raise self._wanted(units) from None

    def _pay(self, payment: Payment, terms: Terms, units: int, digest: bytes) -> Sale:
        self._check_account(digest)
        intent = new_intent(
            payment.reference,
            digest,
            units,
            payment.ends,
            payment.document,
            json.dumps(terms.members),
        )
        return self._settled(lambda: self._intents.present(intent, self._clock()))

    def _settled(self, hold: Callable[[], Intent | Credited]) -> Sale:
        """Return the sale of what is held here, or was credited before."""
        try:
            held = hold()
            credited = held if isinstance(held, Credited) else self._carry_on(held)
        except FacilitatorSilent:
            raise _later(HTTPStatus.SERVICE_UNAVAILABLE, _RETRY_SECONDS) from None
        except Occupied as occupied:
            raise _later(HTTPStatus.SERVICE_UNAVAILABLE, occupied.seconds) from None
        except (Unclear, OtherAccount):
            raise Refusal(HTTPStatus.CONFLICT) from None
        except OverFull:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY) from None
        field = payment_response_field(self._settings.network, credited.transaction)
        return Sale(credited.account, credited.units, field)

    def _carry_on(self, intent: Intent) -> Credited:
        """Do what is left of a payment; PaymentRefused if it was not paid, Unclear if it may be."""
        if not intent.in_doubt:
            try:
                self._facilitator.verify(intent.document, intent.terms)
            except (PaymentRefused, FacilitatorSilent) as unverified:
                self._leave(intent, unverified)
                raise
            self._intents.send(intent)
        try:
            transaction = self._facilitator.settle(intent.document, intent.terms)
        except FacilitatorSilent:
            self._log.event("payment_in_doubt")
            self._intents.release(intent)
            raise
        except PaymentRefused as refused:
            self._refused(intent, refused)
            raise
        credited = self._intents.credit(intent.reference, transaction, self._clock())
        self._log.event("credited", account=credited.account, units=credited.units)
        return credited

    def _leave(self, intent: Intent, unverified: PaymentRefused | FacilitatorSilent) -> None:
        """Forget what was never sent; what was, and was refused, stays and may prove to be paid."""
        if not intent.was_refused:
            self._intents.forget(intent)
        elif isinstance(unverified, PaymentRefused):
            self._refused(intent, unverified)
        else:
            self._intents.refuse(intent)

    def _refused(self, intent: Intent, refused: PaymentRefused) -> None:
        """Write down that a payment was not settled; Unclear if an earlier try may have been."""
        if not intent.in_doubt and refused.code not in ALREADY_USED:
            self._intents.refuse(intent)
            return
        self._intents.doubt(intent)
        self._log.event("payment_unclear", what=refused.code)
        raise Unclear from refused

    def _check_account(self, digest: bytes) -> None:
        """Raise Refusal with 401 for an account that may not spend; there need not be one."""
        if self._ledger.find(digest, int(self._clock())) is None and self._ledger.knows(digest):
            raise unauthorized()

    def _terms(self, units: int) -> Terms:
        asked = self._settings
        return Terms(
            asked.network,
            asked.asset,
            asked.asset_name,
            asked.asset_version,
            asked.pay_to,
            units * asked.amount_per_unit,
        )

    def _wanted(self, units: int, code: str | None = None) -> Refusal:
        """Return the answer that asks for a payment."""
        url = f"{self._settings.issuer_url.rstrip('/')}{PATH}/{units}"
        about = f"{units} units for the voucher that the Authorization field names"
        field = payment_required_field(self._terms(units), url, about, code)
        return Refusal(HTTPStatus.PAYMENT_REQUIRED, fields={"PAYMENT-REQUIRED": field})


_RETRY_SECONDS = 5


def _later(status: HTTPStatus, seconds: int) -> Refusal:
    return Refusal(status, fields={"Retry-After": str(seconds)})
