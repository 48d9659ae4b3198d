"""An issuer to try: keys, a ledger, a clock that is moved by hand, and buyers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from werkzeug.test import Client, TestResponse

from protocol.private_token import PendingToken, Token, request_token
from protocol.token_batch import decode_responses, encode_requests
from protocol.token_catalogue import CatalogueKey, Epoch
from protocol.token_challenge import TokenChallenge
from protocol.token_prices import PricePoint
from tests.support.private_tokens import START, WEEK, epoch
from token_issuer.administration import open_account
from token_issuer.application import Application
from token_issuer.key_plan import generate, new_keys
from token_issuer.key_ring import IssuingKey, KeyRing
from token_issuer.ledger import Ledger
from token_issuer.log import Log
from token_issuer.signing import PrivateOperation

CHALLENGE = TokenChallenge("issuer.example", "gateway.example")
PRICES = (PricePoint(1), PricePoint(4))
NOW = START + WEEK
"""In the first of the two epochs that the keys here are of."""

SINGLE = "application/private-token-request"
BATCH = "application/private-token-generic-batch-request"
RECEIPT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


@cache
def made_keys() -> Sequence[tuple[CatalogueKey, RSAPrivateKey]]:
    """Return keys for two prices in two epochs; making one takes a while."""
    epochs: list[Epoch] = [epoch(0), epoch(1)]
    return [(each.entry, each.private) for each in new_keys([], epochs, PRICES, generate)]


@cache
def key_ring() -> KeyRing:
    """Return a ring of them."""
    keys = [IssuingKey(entry, PrivateOperation(private)) for entry, private in made_keys()]
    return KeyRing(keys, RECEIPT_KEY)


def key_for(price: int, number: int = 0) -> CatalogueKey:
    """Return the key for a price in an epoch."""
    return next(
        entry
        for entry, _ in made_keys()
        if entry.price.units == price and entry.epoch == epoch(number)
    )


@dataclass(slots=True)
class Clock:
    """A time that stands still."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Shop:
    """An application over a ledger, and a client of it."""

    ledger: Ledger
    clock: Clock = field(default_factory=Clock)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        """Return a client within this process."""
        members = {"log": Log(clock=self.clock), "clock": self.clock, **self.more}
        return Client(Application(key_ring(), self.ledger, **members))

    def voucher(self, units: int = 100, **more: Any) -> tuple[int, str]:
        """Return the number and the secret of a fresh account."""
        return open_account(self.ledger, int(self.clock.now), units=units, **more)

    def buy(self, secret: str, body: bytes, kind: str = BATCH) -> TestResponse:
        """Return the answer to a purchase."""
        fields = {"Authorization": f"Bearer {secret}"}
        return self.client.post("/token-request", data=body, content_type=kind, headers=fields)

    def balance(self, secret: str) -> int:
        """Return what the account's owner is told."""
        answer = self.client.get("/account", headers={"Authorization": f"Bearer {secret}"})
        assert answer.json is not None
        balance: int = answer.json["balance"]
        return balance


@dataclass(frozen=True, slots=True)
class Basket:
    """A batch's octets, and what makes tokens of the answer."""

    body: bytes
    pending: Sequence[PendingToken]

    def open(self, answer: bytes) -> list[Token]:
        """Return the tokens, each verified."""
        responses = decode_responses(answer, len(self.pending))
        assert None not in responses
        return [
            one.finalize(octets or b"") for one, octets in zip(self.pending, responses, strict=True)
        ]


def basket(count: int = 3, price: int = 1, number: int = 0) -> Basket:
    """Return a batch for so many tokens of a price in an epoch."""
    key = key_for(price, number).key
    pairs = [request_token(key, CHALLENGE.digest) for _ in range(count)]
    return Basket(encode_requests([request for request, _ in pairs]), [each for _, each in pairs])
