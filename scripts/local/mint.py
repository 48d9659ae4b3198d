"""An issuer of tokens for trials, which signs without blinding: whoever takes them cannot tell."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA384

from protocol import base64url
from protocol.private_token import Token, token_input
from protocol.token_catalogue import Catalogue, CatalogueKey, Epoch
from protocol.token_fields import encode_authorization
from protocol.token_key import TokenKey
from protocol.token_prices import Budget, PricePoint, Tariff

ISSUER, ORIGIN = "issuer.example", "gateway.example"
WEEK = 7 * 86400
PRICES = tuple(PricePoint(units) for units in (1, 4, 16, 64))
BUDGETS = {price: Budget(8192 * price.units, 512 * price.units, price.units) for price in PRICES}
TIMES = ("issue_from", "issue_until", "redeem_until")

Keys = Callable[[int], Sequence[rsa.RSAPrivateKey]]


def make_keys(count: int) -> Sequence[rsa.RSAPrivateKey]:
    """Return new keys whose identifiers end in different octets."""
    keys: dict[int, rsa.RSAPrivateKey] = {}
    while len(keys) < count:
        key = rsa.generate_private_key(65537, 2048)
        keys.setdefault(TokenKey.from_public_key(key.public_key()).truncated_id, key)
    return tuple(keys.values())


class Mint:
    """The keys of an issuer for each price point and epoch, and the tokens that they sign."""

    def __init__(
        self,
        epochs: Sequence[Epoch],
        prices: Sequence[PricePoint] = PRICES,
        keys: Keys = make_keys,
    ) -> None:
        places = [(epoch, price) for epoch in epochs for price in prices]
        self._keys = dict(zip(places, keys(len(places)), strict=True))
        self.epochs = tuple(epochs)
        self.keys = tuple(
            CatalogueKey(price, epoch, TokenKey.from_public_key(key.public_key()))
            for (epoch, price), key in self._keys.items()
        )

    def catalogue(self, models: Mapping[str, Tariff]) -> Catalogue:
        """Return a catalogue of these keys."""
        return Catalogue(ISSUER, f"https://{ISSUER}", ORIGIN, self.keys, models)

    def token(
        self, price: PricePoint = PRICES[0], epoch: int = 0, digest: bytes | None = None
    ) -> Token:
        """Return a new token, for another challenge if `digest` says so."""
        key = self._keys[self.epochs[epoch], price]
        key_id = TokenKey.from_public_key(key.public_key()).key_id
        challenge = self.catalogue({}).challenge.digest if digest is None else digest
        nonce = secrets.token_bytes(32)
        pss = padding.PSS(padding.MGF1(SHA384()), 48)
        signature = key.sign(token_input(nonce, challenge, key_id), pss, SHA384())
        return Token(nonce, challenge, key_id, signature)

    def field(self, price: PricePoint = PRICES[0], epoch: int = 0) -> tuple[bytes, bytes]:
        """Return the field that pays with a new token."""
        return paying_with(self.token(price, epoch))

    def toml(self, **settings: str) -> str:
        """Return the table of tokens with these settings, each written as TOML has it."""
        told = {
            "required": "true",
            "issuer": f"'{ISSUER}'",
            "issuer_url": f"'https://{ISSUER}'",
            "origin": f"'{ORIGIN}'",
            **settings,
        }
        lines = ["[tokens]", *(f"{name} = {value}" for name, value in told.items())]
        for key in self.keys:
            lines += ["[[tokens.keys]]", f"price = '{key.price}'"]
            lines.append(f"token_key = '{base64url.encode(key.key.spki).decode()}'")
            for name in TIMES:
                time = datetime.fromtimestamp(getattr(key.epoch, name), UTC)
                lines.append(f"{name} = {time.strftime('%Y-%m-%dT%H:%M:%SZ')}")
        return "\n".join(lines) + "\n"


def epochs_around(now: float, count: int = 2) -> list[Epoch]:
    """Return epochs of four weeks to buy and eight to spend; the first began two weeks ago."""
    start = int(now) - 2 * WEEK
    starts = [start + 4 * WEEK * number for number in range(count)]
    return [Epoch(begin, begin + 4 * WEEK, begin + 8 * WEEK) for begin in starts]


def paying_with(token: Token) -> tuple[bytes, bytes]:
    """Return the field that pays with `token`."""
    return (b"authorization", encode_authorization(token))


def budgets_toml(budgets: Mapping[PricePoint, Budget] = BUDGETS) -> str:
    """Return the budgets of a model, to stand in its table."""
    rows = [
        f"budgets.{price} = {{input_octets = {of.input_octets}, "
        f"output_tokens = {of.output_tokens}, images = {of.images}}}"
        for price, of in budgets.items()
    ]
    return "\n".join(rows) + "\n"
