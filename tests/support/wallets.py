"""Wallets to try: tokens that verify, a clock that is moved by hand, and what is in the file."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from oblivious_client.purchases import Purchases, Source
from oblivious_client.wallet import Wallet
from protocol.private_token import Token
from protocol.token_catalogue import Catalogue
from protocol.token_prices import PricePoint, Tariff
from tests.support.minting import TARIFF, Mint, epochs_around
from tests.support.private_tokens import PRICES

NOW = 1_800_000_000.0
MINT = Mint(epochs_around(NOW))
MODELS = {"large": TARIFF, "small": Tariff({})}
CATALOGUE = MINT.catalogue(MODELS)
C1, C4, C16, C64 = PRICES


class Clock:
    """A time that a test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def minted(count: int, price: PricePoint = C1, epoch: int = 0, mint: Mint = MINT) -> list[Token]:
    """Return new tokens."""
    return [mint.token(price, epoch) for _ in range(count)]


def source_of(
    price: PricePoint = C1, epoch: int = 0, mint: Mint = MINT, catalogue: Catalogue | None = None
) -> Source:
    """Return where tokens of a price point and epoch are from."""
    key = next(k for k in mint.keys if k.price == price and k.epoch == mint.epochs[epoch])
    return Source.of(catalogue or mint.catalogue(MODELS), key)


def fill(
    wallet: Wallet,
    count: int,
    price: PricePoint = C1,
    epoch: int = 0,
    mint: Mint = MINT,
) -> list[Token]:
    """Put new tokens into a wallet, and return them."""
    tokens = minted(count, price, epoch, mint)
    Purchases(wallet).add(source_of(price, epoch, mint), tokens)
    return tokens


def counts(wallet: Wallet) -> tuple[int, int, int, int]:
    """Return how many tokens are ready, aside, held and unknown."""
    piles = wallet.piles()
    return (
        sum(pile.ready for pile in piles),
        sum(pile.aside for pile in piles),
        sum(pile.held for pile in piles),
        sum(pile.unknown for pile in piles),
    )


def total(wallet: Wallet) -> int:
    """Return how many tokens there are, whatever can be done with them."""
    return sum(counts(wallet))


def octets_of(wallet: Wallet) -> bytes:
    """Return all that the disk has of a wallet, its journal included."""
    path = wallet.file.path
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob(f"{path.name}*")))


def is_sound(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with a file."""
    with closing(sqlite3.connect(path)) as database:
        found: Sequence[tuple[str]] = database.execute("PRAGMA integrity_check").fetchall()
        broken = database.execute("PRAGMA foreign_key_check").fetchall()
    return found == [("ok",)] and not broken
