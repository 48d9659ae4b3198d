"""Receipts: what an issuer signs when it has taken units of an account for tokens.

With one, a buyer can show a purchase that was not honoured. It binds the octets of the request,
what they cost, what was left, and when; it does not name the account.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol import base64url
from protocol.errors import MalformedMessage, SignatureInvalid

FIELD = "oblivious-receipt"
"""The field of an answer in which a receipt stands."""

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_NUMBER_BYTES = 8
_NUMBERS = 3
_RECEIPT_BYTES = _NUMBERS * _NUMBER_BYTES + SIGNATURE_BYTES
_LABEL = b"oblivious-inference receipt 1\0"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a request cost and what was left, in units, and when, in Unix seconds."""

    amount: int
    balance: int
    time: int
    signature: bytes = b""

    def __post_init__(self) -> None:
        if not all(0 <= number < 1 << 63 for number in self._numbers):
            raise ValueError("a receipt is of numbers from 0 to 2^63 - 1")

    @property
    def _numbers(self) -> tuple[int, int, int]:
        return self.amount, self.balance, self.time

    def signed(self, request: bytes, key: Ed25519PrivateKey) -> Self:
        """Return this receipt with the issuer's signature over it and the request's octets."""
        signature = key.sign(self._transcript(request))
        return type(self)(self.amount, self.balance, self.time, signature)

    def verify(self, request: bytes, public_key: bytes) -> None:
        """Raise SignatureInvalid unless the key's owner signed it for the request."""
        try:
            key = Ed25519PublicKey.from_public_bytes(public_key)
            key.verify(self.signature, self._transcript(request))
        except (ValueError, InvalidSignature):
            raise SignatureInvalid("the receipt does not verify") from None

    def encode(self) -> bytes:
        """Return the field's value, 120 characters."""
        if len(self.signature) != SIGNATURE_BYTES:
            raise ValueError("a receipt is signed before it is sent")
        return base64url.encode(self._octets + self.signature)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Return the receipt in a field's value, or raise MalformedMessage; it is not verified."""
        data = base64url.decode(value)
        if len(data) != _RECEIPT_BYTES:
            raise MalformedMessage("not a receipt")
        starts = range(0, _NUMBERS * _NUMBER_BYTES, _NUMBER_BYTES)
        numbers = [int.from_bytes(data[at : at + _NUMBER_BYTES], "big") for at in starts]
        try:
            return cls(numbers[0], numbers[1], numbers[2], data[-SIGNATURE_BYTES:])
        except ValueError as error:
            raise MalformedMessage(str(error)) from None

    @property
    def _octets(self) -> bytes:
        return b"".join(number.to_bytes(_NUMBER_BYTES, "big") for number in self._numbers)

    def _transcript(self, request: bytes) -> bytes:
        return _LABEL + hashlib.sha256(request).digest() + self._octets
