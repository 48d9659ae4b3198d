"""The issuer of `scripts/local/mint.py`, with keys that are made once for all tests of a run."""

import functools
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocol.token_catalogue import CatalogueKey, Epoch
from protocol.token_prices import PricePoint, Tariff
from scripts.local import mint
from scripts.local.mint import BUDGETS, PRICES, budgets_toml, epochs_around, paying_with

__all__ = ["BUDGETS", "TARIFF", "Mint", "budgets_toml", "epochs_around", "paying_with"]

TARIFF = Tariff(BUDGETS)


@functools.cache
def issuer_keys(count: int) -> Sequence[RSAPrivateKey]:
    """Return keys that take half a second to make."""
    return mint.make_keys(count)


class Mint(mint.Mint):
    """The keys of an issuer, and the tokens that they sign."""

    def __init__(self, epochs: Sequence[Epoch], prices: Sequence[PricePoint] = PRICES) -> None:
        super().__init__(epochs, prices, issuer_keys)

    def private(self, key: CatalogueKey) -> RSAPrivateKey:
        """Return the private half of one of these keys."""
        return self._keys[key.epoch, key.price]
