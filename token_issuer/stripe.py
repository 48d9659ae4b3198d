"""Payments that a provider tells of by a signed call, in Stripe's format.

The buyer pays on the provider's page, whose `client_reference_id` is the account's number. What is
credited is named after the checkout session, not after the event: a session may be told of by two
events, one when it is completed and one when a slow payment arrives, and each of them twice.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol import strict_json
from protocol.errors import MalformedMessage, SignatureInvalid

KIND = "stripe"

TOLERANCE_SECONDS = 300
"""How old a signature may be, either way: what was recorded cannot be sent again for ever."""

MAX_SIGNATURES = 8
"""In one header: the provider sends one for each secret while one replaces another."""

_TIME = re.compile(r"[0-9]{1,12}")
_ACCOUNT = re.compile(r"[0-9]{1,18}")
_REFERENCE_CHARACTERS = 255
_PAID_BY = ("checkout.session.completed", "checkout.session.async_payment_succeeded")


@dataclass(frozen=True, slots=True)
class Payment:
    """What somebody paid, for which account."""

    account: int
    units: int
    reference: str


@dataclass(frozen=True, slots=True)
class StripeAccount:
    """Whose calls are believed, and what a unit costs in the smallest amount of a currency."""

    secret: bytes = field(repr=False)
    currency: str
    minor_per_unit: int

    def verify(self, header: str, body: bytes, now: float) -> None:
        """Raise SignatureInvalid unless `header` is a recent signature: `t=TIME,v1=HEX,...`.

        Each v1 is HMAC-SHA-256 over the time, a dot and the body; other versions are passed over.
        """
        time, signatures = _read_header(header)
        if not _TIME.fullmatch(time):
            raise SignatureInvalid("a signature without its time")
        if abs(now - int(time)) > TOLERANCE_SECONDS:
            raise SignatureInvalid("a signature of another time")
        signed = time.encode() + b"." + body
        expected = hmac.new(self.secret, signed, hashlib.sha256).hexdigest().encode()
        if not any(hmac.compare_digest(expected, each.encode()) for each in signatures):
            raise SignatureInvalid("no signature of this secret")

    def read_payment(self, body: bytes) -> Payment | None:
        """Return the payment that an event tells of; None for other events, currencies and states.

        MalformedMessage for what is no event, or a paid session that names no account.
        """
        event = strict_json.decode_object(body)
        session = _member(_member(event, "data"), "object")
        if event.get("type") not in _PAID_BY or session.get("payment_status") != "paid":
            return None
        total = session.get("amount_total")
        if session.get("currency") != self.currency or type(total) is not int:
            return None
        if total < self.minor_per_unit:
            return None
        return Payment(_account(session), total // self.minor_per_unit, _reference(session))


def _read_header(header: str) -> tuple[str, Sequence[str]]:
    pairs = [item.strip().partition("=") for item in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    return times[0] if len(times) == 1 else "", signatures[:MAX_SIGNATURES]


def _account(session: Mapping[str, Any]) -> int:
    account = session.get("client_reference_id")
    if not isinstance(account, str) or not _ACCOUNT.fullmatch(account):
        raise MalformedMessage("a payment for no account")
    return int(account)


def _reference(session: Mapping[str, Any]) -> str:
    reference = session.get("id")
    if not isinstance(reference, str) or not 0 < len(reference) <= _REFERENCE_CHARACTERS:
        raise MalformedMessage("a payment without an identifier")
    return reference


def _member(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members.get(name)
    return value if isinstance(value, dict) else {}
