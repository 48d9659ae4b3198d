"""The token catalogue: which keys a gateway takes tokens of, in which epochs, and what they buy.

It is JSON, served as the exact octets whose SHA-256 is attested. A client blinds for these keys
alone, so that no issuer can tell its buyers apart by giving each another key.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from protocol import base64url, strict_json
from protocol.errors import MalformedMessage
from protocol.issuer_directory import LATEST_TIME
from protocol.token_challenge import TokenChallenge
from protocol.token_key import TokenKey
from protocol.token_prices import MAX_PRICES, PricePoint, Tariff

VERSION = 1

MAX_CATALOGUE_BYTES = 24 * 1024
"""It stands in the evidence, in base64, beside a document and two keys."""

MAX_EPOCHS = 6
"""Half a year of four weeks each."""

SKEW_SECONDS = 300
"""How far a client's clock may be off, either way, at the ends of a key's time."""

_HOST = r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*"
_NAME = re.compile(rf"(?=.{{1,255}}\Z){_HOST}")
_URL = re.compile(rf"(?:https://{_HOST}|http://(?:localhost|127\.0\.0\.1))(?::[1-9][0-9]{{0,4}})?")
_MEMBERS = frozenset({"version", "issuer", "issuer_url", "origin", "keys", "models"})
_KEY_MEMBERS = frozenset({"price", "token_key", "issue_from", "issue_until", "redeem_until"})


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """When a key signs and when its tokens are taken, in Unix seconds; ends are not within."""

    issue_from: int
    issue_until: int
    redeem_until: int

    def __post_init__(self) -> None:
        if not 0 <= self.issue_from < self.issue_until <= self.redeem_until <= LATEST_TIME:
            raise ValueError("the times of an epoch do not increase")

    def issues(self, now: float) -> bool:
        """Tell whether keys of this epoch sign at `now`."""
        return self.issue_from <= now < self.issue_until

    def redeems(self, now: float, skew: float = SKEW_SECONDS) -> bool:
        """Tell whether tokens of this epoch are taken at `now`."""
        return self.issue_from - skew <= now < self.redeem_until + skew


@dataclass(frozen=True, slots=True)
class CatalogueKey:
    """A key of an issuer: for one price point, in one epoch."""

    price: PricePoint
    epoch: Epoch
    key: TokenKey


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A token catalogue; ValueError for one that would lose tokens or tell buyers apart.

    Keys are in the order of their epochs, and of their price in each.
    """

    issuer: str
    issuer_url: str
    origin: str
    keys: Sequence[CatalogueKey]
    models: Mapping[str, Tariff]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.issuer) or not _NAME.fullmatch(self.origin):
            raise ValueError("issuer and origin are names of hosts in lower case")
        if not _URL.fullmatch(self.issuer_url):
            raise ValueError("issuer_url is https:// and a host, or http:// on this machine")
        _require_epochs(self.keys)
        known = {each.price for each in self.keys}
        if any(not tariff.budgets.keys() <= known for tariff in self.models.values()):
            raise ValueError("a budget of a price point that has no keys")

    @property
    def challenge(self) -> TokenChallenge:
        """The one challenge of all tokens, so that they can be bought long before."""
        return TokenChallenge(self.issuer, self.origin)

    def find(self, key_id: bytes) -> CatalogueKey | None:
        """Return the key of that identifier, or None."""
        return next((each for each in self.keys if each.key.key_id == key_id), None)

    def issuing(self, price: PricePoint, now: float) -> CatalogueKey | None:
        """Return the key that signs tokens of `price` at `now`; None between epochs."""
        named = (each for each in self.keys if each.price == price)
        return next((each for each in named if each.epoch.issues(now)), None)

    def encode(self) -> bytes:
        """Return the octets that are served and attested; ValueError if they are too many."""
        members = {
            "version": VERSION,
            "issuer": self.issuer,
            "issuer_url": self.issuer_url,
            "origin": self.origin,
            "keys": [_key_members(each) for each in self.keys],
            "models": {name: tariff.encode() for name, tariff in self.models.items()},
        }
        data = json.dumps(members, separators=(",", ":")).encode()
        if len(data) > MAX_CATALOGUE_BYTES:
            raise ValueError(f"the catalogue is longer than {MAX_CATALOGUE_BYTES} octets")
        return data

    @classmethod
    def decode(cls, data: bytes) -> "Catalogue":
        """Return the catalogue in `data`, or raise MalformedMessage."""
        if len(data) > MAX_CATALOGUE_BYTES:
            raise MalformedMessage("the catalogue is too large")
        members = strict_json.decode_members(data, _MEMBERS)
        if type(members["version"]) is not int or members["version"] != VERSION:
            raise MalformedMessage("a catalogue of another version")
        names = [_text(members[name]) for name in ("issuer", "issuer_url", "origin")]
        keys, models = members["keys"], members["models"]
        if not isinstance(keys, list) or not isinstance(models, dict):
            raise MalformedMessage("a catalogue without keys or models")
        tariffs = {name: Tariff.decode(of) for name, of in models.items()}
        read = [_key(each) for each in keys]
        try:
            return cls(names[0], names[1], names[2], tuple(read), tariffs)
        except ValueError as error:
            raise MalformedMessage(str(error)) from None


def catalogue_hash(data: bytes) -> bytes:
    """Return the SHA-256 by which an attestation binds the octets of a catalogue."""
    return hashlib.sha256(data).digest()


def _require_epochs(keys: Sequence[CatalogueKey]) -> None:
    """Raise ValueError unless each epoch has a key for each price point, and they follow."""
    if len({each.key.truncated_id for each in keys}) != len(keys):
        # A request names its key by this octet alone.
        raise ValueError("two keys whose identifiers end alike")
    epochs = [(epoch, [each.price for each in of]) for epoch, of in groupby(keys, _epoch_of)]
    if not 0 < len(epochs) <= MAX_EPOCHS:
        raise ValueError(f"a catalogue has 1 to {MAX_EPOCHS} epochs, and all keys of one together")
    # Times of its own would tell the price of a token, and so would a price without a key.
    if any(prices != epochs[0][1] for _, prices in epochs):
        raise ValueError("epochs that have not the same price points at the same times")
    _require_order(epochs[0][1], [epoch for epoch, _ in epochs])


def _require_order(prices: Sequence[PricePoint], epochs: Iterable[Epoch]) -> None:
    if len(prices) > MAX_PRICES:
        raise ValueError(f"a catalogue has at most {MAX_PRICES} price points")
    if any(cheaper >= dearer for cheaper, dearer in pairwise(prices)):
        raise ValueError("price points are not in order, or one is there twice")
    for earlier, later in pairwise(epochs):
        if later.issue_from < earlier.issue_until or later.redeem_until < earlier.redeem_until:
            raise ValueError("epochs are not in order, or overlap")


def _epoch_of(key: CatalogueKey) -> Epoch:
    return key.epoch


def _key_members(key: CatalogueKey) -> dict[str, int | str]:
    return {
        "price": str(key.price),
        "token_key": base64url.encode(key.key.spki).decode(),
        "issue_from": key.epoch.issue_from,
        "issue_until": key.epoch.issue_until,
        "redeem_until": key.epoch.redeem_until,
    }


def _key(members: object) -> CatalogueKey:
    if not isinstance(members, dict) or members.keys() != _KEY_MEMBERS:
        raise MalformedMessage("a key that has not the members that it has to have")
    spki = base64url.decode(strict_json.decode_ascii(members["token_key"]))
    times = [members[name] for name in ("issue_from", "issue_until", "redeem_until")]
    if not all(type(time) is int for time in times):
        raise MalformedMessage("a time that is no number of Unix seconds")
    try:
        epoch = Epoch(*times)
    except ValueError as error:
        raise MalformedMessage(str(error)) from None
    return CatalogueKey(PricePoint.decode(members["price"]), epoch, TokenKey.decode(spki))


def _text(value: object) -> str:
    return strict_json.decode_ascii(value).decode()
