"""Purchases of a wallet: on the disk before anything is sent, and until their tokens are there.

A purchase is the octets that an issuer gets and the secrets that make tokens of its answer. Both
are kept before the request leaves. The issuer takes its price once for the same octets and signs
them as often as they come, so that a purchase whose answer was lost is asked for again and costs
nothing more. Purchase and secrets go in the transaction in which the tokens come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from oblivious_client.wallet import Clock, Wallet
from protocol.private_token import PendingToken, Token, TokenRequest
from protocol.token_batch import encode_requests
from protocol.token_catalogue import Catalogue, CatalogueKey, Epoch
from protocol.token_challenge import TokenChallenge
from protocol.token_key import TokenKey
from protocol.token_prices import PricePoint


@dataclass(frozen=True, slots=True)
class Source:
    """Whose tokens they are, for whom, and by which key."""

    issuer: str
    origin: str
    key: CatalogueKey

    @classmethod
    def of(cls, catalogue: Catalogue, key: CatalogueKey) -> Source:
        """Return the source that a key of a catalogue is."""
        return cls(catalogue.issuer, catalogue.origin, key)

    @property
    def challenge_digest(self) -> bytes:
        """What stands in each of its tokens."""
        return TokenChallenge(self.issuer, self.origin).digest


@dataclass(frozen=True, slots=True)
class Purchase:
    """Tokens that an issuer was asked for, or is going to be."""

    source: Source
    issuer_url: str
    """As it was attested when the purchase was begun: nobody else gets the secret."""
    account: bytes
    """Tells accounts apart: the first half of the SHA-256 of the secret."""
    begun: float
    request: bytes = field(repr=False)
    pending: tuple[PendingToken, ...] = field(repr=False)
    row: int


class Purchases:
    """The purchases of a wallet; every method is one transaction. Raises WalletUnusable."""

    def __init__(self, wallet: Wallet) -> None:
        self._file = wallet.file
        self._clock: Clock = wallet.clock

    def begin(
        self,
        source: Source,
        issuer_url: str,
        account: bytes,
        made: Sequence[tuple[TokenRequest, PendingToken]],
    ) -> Purchase:
        """Keep a new purchase of attested tokens, before its request leaves."""
        request = encode_requests([request for request, _ in made])
        pending, begun = tuple(each for _, each in made), self._clock()
        with self._file.writing() as database:
            key = _key_row(database, source, _ATTESTED)
            row = database.execute(
                "INSERT INTO purchases (key, issuer_url, account, begun, request) "
                "VALUES (?, ?, ?, ?, ?)",
                (key, issuer_url, account, begun, request),
            ).lastrowid
            database.executemany(
                "INSERT INTO pending VALUES (?, ?, ?, ?)",
                [
                    (row, place, each.nonce, each.inverse.to_bytes(256, "big"))
                    for place, each in enumerate(pending)
                ],
            )
        return Purchase(source, issuer_url, account, begun, request, pending, row or 0)

    def open(self) -> list[Purchase]:
        """Return the purchases without their tokens, the earliest first."""
        with self._file.reading() as database:
            rows = database.execute(_OPEN).fetchall()
            return [_purchase(database, row) for row in rows]

    def finish(self, purchase: Purchase, tokens: Iterable[Token], receipt: str | None) -> int:
        """Have the tokens in place of their purchase; return how many are new."""
        with self._file.writing() as database:
            key = _key_row(database, purchase.source, _ATTESTED)
            count = _add(database, key, tokens, self._clock())
            if receipt is not None:
                digest = hashlib.sha256(purchase.request).digest()
                database.execute(
                    "INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?)",
                    (purchase.issuer_url, digest, receipt, self._clock()),
                )
            _forget(database, purchase)
        return count

    def drop(self, purchase: Purchase) -> None:
        """Forget a purchase that cost nothing, or whose tokens nobody takes any more."""
        with self._file.writing() as database:
            _forget(database, purchase)

    def add(self, source: Source, tokens: Iterable[Token]) -> int:
        """Have tokens that somebody handed over; return how many are new.

        What they say of their key changes nothing that an attested catalogue said of it.
        """
        with self._file.writing() as database:
            key = _key_row(database, source, _HANDED_OVER)
            return _add(database, key, tokens, self._clock())

    def receipts(self) -> dict[str, str]:
        """Return the last receipt of each issuer, by its address."""
        with self._file.reading() as database:
            return dict(database.execute("SELECT issuer_url, receipt FROM receipts").fetchall())


def _add(database: Any, key: int, tokens: Iterable[Token], now: float) -> int:
    """Insert tokens; one that is there already is the same one."""
    return sum(
        database.execute(
            "INSERT OR IGNORE INTO tokens (key, nonce, authenticator, gained) VALUES (?, ?, ?, ?)",
            (key, token.nonce, token.authenticator, now),
        ).rowcount
        for token in tokens
    )


def _forget(database: Any, purchase: Purchase) -> None:
    """Delete a purchase, unless another program has.

    Then its number may be the next one's by now, which is known by its request.
    """
    database.execute(
        "DELETE FROM purchases WHERE id = ? AND request = ?", (purchase.row, purchase.request)
    )


def _key_row(database: Any, source: Source, statement: str) -> int:
    key = source.key
    database.execute(
        statement,
        (
            key.key.spki,
            key.key.key_id,
            source.issuer,
            source.origin,
            key.price.units,
            key.epoch.issue_from,
            key.epoch.issue_until,
            key.epoch.redeem_until,
        ),
    )
    row = database.execute(
        "SELECT id FROM keys WHERE key_id = ? AND issuer = ? AND origin = ?",
        (key.key.key_id, source.issuer, source.origin),
    ).fetchone()
    return int(row[0])


def read_source(row: Sequence[Any]) -> Source:
    """Return the source in these columns of `keys`: whose it is, price, key and times."""
    issuer, origin, price, spki, *times = row
    key = CatalogueKey(PricePoint(price), Epoch(*times), TokenKey.decode(spki))
    return Source(issuer, origin, key)


def _purchase(database: Any, row: Sequence[Any]) -> Purchase:
    number, issuer_url, account, begun, request, *columns = row
    source = read_source(columns)
    secrets = database.execute(
        "SELECT nonce, inverse FROM pending WHERE purchase = ? ORDER BY place", (number,)
    ).fetchall()
    pending = tuple(
        PendingToken(source.key.key, source.challenge_digest, nonce, int.from_bytes(inverse, "big"))
        for nonce, inverse in secrets
    )
    return Purchase(source, issuer_url, account, begun, request, pending, number)


_HANDED_OVER = """
INSERT INTO keys
    (spki, key_id, issuer, origin, price, issue_from, issue_until, redeem_until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""

_ATTESTED = """
INSERT INTO keys
    (spki, key_id, issuer, origin, price, issue_from, issue_until, redeem_until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    price = excluded.price, issue_from = excluded.issue_from,
    issue_until = excluded.issue_until, redeem_until = excluded.redeem_until"""

_OPEN = """
SELECT purchases.id, issuer_url, account, begun, request,
    issuer, origin, price, spki, issue_from, issue_until, redeem_until
FROM purchases JOIN keys ON keys.id = purchases.key ORDER BY purchases.id"""
