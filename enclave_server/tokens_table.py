"""The tables of tokens: whose are taken, in which epochs, and what they buy of each model."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from enclave_server.addresses import parse_address
from enclave_server.tables import Table, require
from protocol import base64url
from protocol.errors import MalformedMessage
from protocol.token_catalogue import SKEW_SECONDS, Catalogue, CatalogueKey, Epoch
from protocol.token_key import TokenKey
from protocol.token_prices import IMAGE_OCTETS, Budget, PricePoint, Tariff

LEASE_MARGIN_SECONDS = 60
"""That a hold lasts beyond the longest answer: what is spent is written down within half of it."""

MAX_LEASE_SECONDS = 7 * 86400

MAX_NAMED = 200
"""Characters of issuer and origin together: a refusal names both, and is to be as long as a short
answer."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time that names its zone; without one it would be another on another machine."""


class TokenKeyTable(Table, frozen=True):
    """An issuer's public key: for one price point, in one epoch."""

    price: str
    token_key: str
    issue_from: Moment
    issue_until: Moment
    redeem_until: Moment

    @property
    def key(self) -> CatalogueKey:
        """The key; ValueError for what is none."""
        times = [_seconds(time) for time in (self.issue_from, self.issue_until, self.redeem_until)]
        try:
            key = TokenKey.decode(base64url.decode(self.token_key.encode()))
            return CatalogueKey(PricePoint.decode(self.price), Epoch(*times), key)
        except MalformedMessage as error:
            raise ValueError(f"a key of tokens.keys: {error}") from None


class BudgetTable(Table, frozen=True):
    """What a token of one price point buys of a model."""

    input_octets: int
    output_tokens: int
    images: int = 0


class TokensTable(Table, frozen=True):
    """Whether models are paid for with tokens, whose are taken, and who knows which are spent."""

    required: bool = False
    issuer: str | None = None
    issuer_url: str | None = None
    origin: str | None = None
    store: Literal["memory", "redis"] = "memory"
    # Of Redis alone: a hole of host_proxy where the server runs in an enclave.
    store_address: str | None = None
    # Of the memory alone: tokens that are held or spent.
    capacity: int = 1 << 22
    # By default a minute more than the longest answer may take.
    lease_seconds: int | None = None
    nullifier_key_provisioned: bool = False
    skew_seconds: int = SKEW_SECONDS
    keys: tuple[TokenKeyTable, ...] = ()

    def __post_init__(self) -> None:
        require(1 <= self.capacity <= 1 << 28, "tokens.capacity must be from 1 to 268435456")
        require(0 <= self.skew_seconds <= 600, "tokens.skew_seconds must be from 0 to 600")
        lease = 1 if self.lease_seconds is None else self.lease_seconds
        require(
            1 <= lease <= MAX_LEASE_SECONDS,
            f"tokens.lease_seconds must be from 1 to {MAX_LEASE_SECONDS}",
        )
        is_redis = self.store == "redis"
        require(
            is_redis == (self.store_address is not None),
            "tokens.store_address belongs to the store redis, which needs one",
        )
        if self.store_address is not None:
            parse_address(self.store_address)

    def catalogue(self, models: Mapping[str, Tariff]) -> Catalogue:
        """Return what clients are told; ValueError, in a sentence, for what would lose tokens."""
        named = {"issuer": self.issuer, "issuer_url": self.issuer_url, "origin": self.origin}
        for name, value in named.items():
            require(value, f"tokens.required needs tokens.{name}")
        require(
            len(f"{self.issuer}{self.origin}") <= MAX_NAMED,
            f"tokens.issuer and tokens.origin have at most {MAX_NAMED} characters together",
        )
        require(self.keys, "tokens.required needs tokens.keys")
        keys = tuple(table.key for table in self.keys)
        try:
            catalogue = Catalogue(
                self.issuer or "", self.issuer_url or "", self.origin or "", keys, models
            )
            catalogue.encode()
        except ValueError as error:
            raise ValueError(f"tokens: {error}") from None
        return catalogue

    def lease(self, longest: float) -> int:
        """Return for how many seconds a token is held, where answers take at most `longest`."""
        least = longest + LEASE_MARGIN_SECONDS
        require(
            least <= MAX_LEASE_SECONDS, "total_seconds is too long for models that are paid for"
        )
        if self.lease_seconds is None:
            return math.ceil(least)
        require(
            self.lease_seconds >= least,
            f"tokens.lease_seconds must be at least {math.ceil(least)}: the longest total_seconds "
            f"of an upstream, and {LEASE_MARGIN_SECONDS} more",
        )
        return self.lease_seconds


def tariff(
    model: str, budgets: Mapping[str, BudgetTable], *, free: bool, image_octets: int = IMAGE_OCTETS
) -> Tariff:
    """Return what a model costs where models are paid for; ValueError, which names the model."""
    require(
        free != bool(budgets),
        f"model {model!r} has to be free, or to have budgets, and not both",
    )
    try:
        named = {
            PricePoint.decode(name): Budget(of.input_octets, of.output_tokens, of.images)
            for name, of in budgets.items()
        }
        return Tariff(named, image_octets)
    except (MalformedMessage, ValueError) as error:
        raise ValueError(f"model {model!r}: {error}") from None


def _seconds(time: datetime) -> int:
    seconds = time.timestamp()
    require(seconds == int(seconds), "the times of tokens.keys are whole seconds")
    return int(seconds)
