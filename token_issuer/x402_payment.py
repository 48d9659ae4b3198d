"""A payment of x402 version 2 as a request carries it: read strictly, and held against the terms.

The scheme is `exact` on an EVM chain with EIP-3009: the payer signs an order to transfer an amount
of a currency to a recipient until a time, which the currency's contract carries out once for each
nonce. Signature and funds are the facilitator's to judge.
"""

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from protocol import strict_json
from protocol.errors import MalformedMessage

VERSION = 2
SCHEME = "exact"

VALID_SECONDS = 300
"""For which a payer is asked to have a payment be good."""

LEAST_SECONDS = 30
"""For which it has to be good still, so that it can be settled."""

MAX_PAYMENT_CHARACTERS = 7000
"""Of the field, less than fronts and gunicorn let through; a plain wallet's payment has 1,500."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_NONCE = re.compile(r"0x[0-9a-fA-F]{64}")
# A wallet that is a contract may sign with more.
_SIGNATURE = re.compile(r"0x(?:[0-9a-fA-F]{2}){65,2048}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,77}")  # of 256 bits

OTHER_TERMS = "invalid_payment_requirements"
OTHER_RECIPIENT = "invalid_exact_evm_payload_recipient_mismatch"
OTHER_AMOUNT = "invalid_exact_evm_payload_authorization_value_mismatch"
TOO_LATE = "invalid_exact_evm_payload_authorization_valid_before"
TOO_EARLY = "invalid_exact_evm_payload_authorization_valid_after"


class PaymentRefused(Exception):
    """A payment that changed nothing; `code` is one of x402's, for the payer."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Terms:
    """What is to be paid: an amount of a currency's smallest unit, on a chain, to whom."""

    network: str
    asset: str
    asset_name: str
    asset_version: str
    pay_to: str
    amount: int

    @property
    def members(self) -> dict[str, Any]:
        """Return x402's PaymentRequirements."""
        return {
            "scheme": SCHEME,
            "network": self.network,
            "asset": self.asset,
            "amount": str(self.amount),
            "payTo": self.pay_to,
            "maxTimeoutSeconds": VALID_SECONDS,
            "extra": {
                "name": self.asset_name,
                "version": self.asset_version,
                "assetTransferMethod": "eip3009",
            },
        }


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment that fits the terms; whether it is signed and covered is not known yet."""

    reference: str
    """SHA-256 of what the chain takes once: network, currency, payer and nonce; in hexadecimal."""
    ends: int
    """The time after which it cannot be settled, in Unix seconds."""
    document: str = field(repr=False)
    """What the facilitator is given, in JSON: x402's PaymentPayload, of members that were read."""


def read_payment(text: str, terms: Terms, now: float) -> Payment:
    """Return the payment in the field PAYMENT-SIGNATURE.

    MalformedMessage for what is none, PaymentRefused for one that fits not the terms or the time.
    """
    members = _decode(text)
    if members.get("x402Version") != VERSION:
        raise MalformedMessage("a payment of another version")
    accepted, payload = _object(members, "accepted"), _object(members, "payload")
    _compare(accepted, terms.members)
    signature = _text(payload, "signature", _SIGNATURE)
    order = _read_order(_object(payload, "authorization"))
    if order["to"].lower() != terms.pay_to.lower():
        raise PaymentRefused(OTHER_RECIPIENT)
    if int(order["value"]) != terms.amount:
        raise PaymentRefused(OTHER_AMOUNT)
    ends = int(order["validBefore"])
    # The upper bound keeps the time in the ledger's column: nobody is asked for more.
    if not now + LEAST_SECONDS <= ends <= now + 2 * VALID_SECONDS:
        raise PaymentRefused(TOO_LATE)
    if int(order["validAfter"]) > now:
        raise PaymentRefused(TOO_EARLY)
    document = {
        "x402Version": VERSION,
        "accepted": terms.members,
        "payload": {"signature": signature, "authorization": order},
    }
    return Payment(_reference(terms, order), ends, json.dumps(document))


def _decode(text: str) -> dict[str, Any]:
    if len(text) > MAX_PAYMENT_CHARACTERS:
        raise MalformedMessage("a payment that is too long")
    try:
        return strict_json.decode_object(base64.b64decode(text.encode("ascii"), validate=True))
    except (binascii.Error, UnicodeEncodeError):
        raise MalformedMessage("not base64") from None


def _object(members: dict[str, Any], name: str) -> dict[str, Any]:
    value = members.get(name)
    if not isinstance(value, dict):
        raise MalformedMessage(f"a payment without {name}")
    return value


def _text(members: dict[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = members.get(name)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise MalformedMessage(f"a payment without {name}")
    return value


def _compare(accepted: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise PaymentRefused unless all that was asked was accepted; `extra` may have more."""
    extra = accepted.get("extra")
    if not isinstance(extra, dict):
        raise MalformedMessage("a payment without extra")
    known = {name: extra[name] for name in asked["extra"] if name in extra}
    if {**{name: accepted.get(name) for name in asked}, "extra": known} != asked:
        raise PaymentRefused(OTHER_TERMS)


def _read_order(members: dict[str, Any]) -> dict[str, str]:
    return {
        "from": _text(members, "from", _ADDRESS),
        "to": _text(members, "to", _ADDRESS),
        "value": _text(members, "value", _NUMBER),
        "validAfter": _text(members, "validAfter", _NUMBER),
        "validBefore": _text(members, "validBefore", _NUMBER),
        "nonce": _text(members, "nonce", _NONCE),
    }


def _reference(terms: Terms, order: dict[str, str]) -> str:
    """Return the name of a payment, the same one however its addresses are capitalised."""
    parts = (terms.network, terms.asset, order["from"], order["nonce"])
    return hashlib.sha256("\n".join(parts).lower().encode()).hexdigest()
