"""Vectors of blind RSA and Privacy Pass, issuers out of them, and catalogues to try."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protocol.token_catalogue import Catalogue, CatalogueKey, Epoch
from protocol.token_key import TokenKey
from protocol.token_prices import Budget, PricePoint, Tariff
from tests.support.vector_files import load

FIRST = load("privacy-pass-and-blind-rsa.json")
MORE = load("privacy-pass-more.json")
BATCHES = MORE["generic_batch"]["vectors"]
OLDER_BATCHES = MORE["generic_batch"]["must_be_refused_older_layout"]
ISSUANCES = [*FIRST["rfc9578_type2"]["vectors"], *MORE["type2_more"]["vectors"]]

START, WEEK = 1_764_547_200, 7 * 86400


def in_order(*pieces: bytes) -> Callable[[int], bytes]:
    """Return a source of randomness that gives these pieces, each of the size asked for."""
    left = iter(pieces)

    def random(size: int) -> bytes:
        piece = next(left)
        assert len(piece) == size
        return piece

    return random


def operation(n: int, d: int) -> Callable[[int], int]:
    """Return the private operation of a key that is no secret."""
    return lambda number: pow(number, d, n)


@cache
def load_issuer(pem: str) -> RSAPrivateKey:
    """Return the private key of a vector, which has it as hexadecimal PEM."""
    key = load_pem_private_key(bytes.fromhex(pem), password=None)
    assert isinstance(key, RSAPrivateKey)
    return key


def issuer_operation(key: RSAPrivateKey) -> Callable[[int], int]:
    """Return the private operation of a key that a vector publishes."""
    numbers = key.private_numbers()
    return operation(numbers.public_numbers.n, numbers.d)


ISSUER = load_issuer(ISSUANCES[0]["skS"])
OTHER_ISSUER = load_issuer(ISSUANCES[-1]["skS"])
KEY = TokenKey.from_public_key(ISSUER.public_key())
OTHER_KEY = TokenKey.from_public_key(OTHER_ISSUER.public_key())
SIGN = issuer_operation(ISSUER)


def type_2(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a batch's members of type 2."""
    for each in batch["issuance"]:
        if each.get("type", each.get("token_type")) in (2, "2", "0002"):
            yield each


@cache
def toy_key(ending: int) -> TokenKey:
    """Return a key to which nobody has the other half, whose identifier ends in that octet."""
    for number in range(1, 1 << 16, 2):
        modulus = b"\xc5" * 252 + number.to_bytes(4, "big")
        key = TokenKey.decode(KEY.spki[:81] + modulus + KEY.spki[-5:])
        if key.truncated_id == ending:
            return key
    raise AssertionError("no such key")


def epoch(number: int) -> Epoch:
    """Return the epoch of that number: four weeks to buy, eight to spend."""
    start = START + 4 * WEEK * number
    return Epoch(start, start + 4 * WEEK, start + 8 * WEEK)


PRICES = tuple(PricePoint(units) for units in (1, 4, 16, 64))


def catalogue_keys(epochs: int = 3) -> list[CatalogueKey]:
    """Return keys for each price point in so many epochs."""
    places = [(epoch(number), price) for number in range(epochs) for price in PRICES]
    return [CatalogueKey(price, of, toy_key(at)) for at, (of, price) in enumerate(places)]


def catalogue(**changes: Any) -> Catalogue:
    """Return a good catalogue, with some of its members changed."""
    budgets = {price: Budget(8192 * price.units, 512 * price.units) for price in PRICES}
    members: dict[str, Any] = {
        "issuer": "issuer.example",
        "issuer_url": "https://issuer.example",
        "origin": "gateway.example",
        "keys": tuple(catalogue_keys()),
        "models": {"large": Tariff(budgets), "small": Tariff({})},
    }
    return Catalogue(**{**members, **changes})
