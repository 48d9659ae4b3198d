"""The wallet: tokens that can be spent, and purchases that can still be finished.

A token is READY, HELD by a question under way, or UNKNOWN: its question left and nothing came back.
It is deleted when the gateway has said that it is spent or useless, and by nothing else but the end
of its time, when a gateway was just asked whose evidence is of now: a clock alone deletes nothing.
A token that has left this machine once is *seen*: spent for another question it would tie the two
together, for the enclave, so that it is taken when nothing better is there.

    READY ──take──▶ HELD ──settle──▶ deleted, READY, READY and seen, or UNKNOWN
    HELD for longer than any answer takes ──recover──▶ UNKNOWN       (the program was killed)
    UNKNOWN for two such times            ──recover──▶ READY and seen (the gateway knows better)

Whoever holds a token has a mark of its own, so that what it learns late settles its own hold alone.
"""

from __future__ import annotations

import enum
import secrets
import shlex
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oblivious_client import places
from oblivious_client.wallet_file import WalletFile
from protocol.private_token import Token
from protocol.token_catalogue import SKEW_SECONDS, Catalogue, CatalogueKey
from protocol.token_prices import PricePoint

LEASE_SECONDS = 1860
"""After which no gateway holds a token any more: the longest answer, and a minute."""

RETURNING_SECONDS = 60
"""Within which a token that came back may still be called in use: gateways tell their stores every
half minute, so that nobody who watches these learns from the time why it came back."""

SPREAD_SECONDS = 900
"""For which a bought token rests, so that its use does not follow its purchase."""

SPARE_SECONDS = 300
"""A token that ends sooner might end on its way."""

KEPT_SECONDS = 86400
"""For which tokens are kept beyond their end: a clock may be wrong for a while."""

Clock = Callable[[], float]


class Outcome(enum.Enum):
    """What became of a held token."""

    GONE = "gone"
    """It is spent, or useless: the gateway said so."""
    UNSENT = "unsent"
    """It never left."""
    RETURNED = "returned"
    """It left, and is said not to be spent."""
    UNKNOWN = "unknown"
    """It left, and nothing came back."""


@dataclass(frozen=True, slots=True)
class Held:
    """A token that is held for one question; `is_fresh` if it had never left before.

    It `came_back` if that was so short a time ago that the gateway may say that it is in use;
    `returned` is when, if it ever did.
    """

    token: Token
    price: PricePoint
    is_fresh: bool
    row: int
    holder: bytes = field(repr=False)
    came_back: bool = False
    returned: float | None = None


@dataclass(frozen=True, slots=True)
class Pile:
    """How many tokens there are of one key, by what can be done with them."""

    issuer: str
    origin: str
    price: PricePoint
    redeem_until: int
    ready: int
    aside: int
    held: int
    unknown: int

    @property
    def usable(self) -> int:
        """How many can be spent now."""
        return self.ready + self.aside


@dataclass(frozen=True, slots=True)
class Refusals:
    """How many tokens of a price point were refused with a code although they had never left."""

    price: PricePoint
    code: str
    count: int


def usual_path() -> Path:
    """Return where a user's wallet is, unless something else is said."""
    return places.data() / "wallet.sqlite3"


class Wallet:
    """Tokens in a file, for its owner alone; every method is one transaction on the disk.

    Raises WalletUnusable.
    """

    def __init__(self, path: Path | str, *, clock: Clock = time.time) -> None:
        self.file = WalletFile(Path(path))
        self.clock = clock

    def command(self, *words: str) -> str:
        """Return a command line that does something with this very wallet, for advice."""
        own = () if self.file.path == usual_path() else ("--wallet", str(self.file.path))
        return shlex.join(["oblivious-client", "tokens", *words, *own])

    def take(
        self,
        catalogue: Catalogue,
        prices: Sequence[PricePoint],
        *,
        preferred: int | None = None,
        without: Collection[int] = (),
    ) -> Held | None:
        """Hold a token of one of these price points, which are in their order; None without one.

        The cheapest that will do is taken, of it a key that ends first, and of that key any one.
        A token of the `preferred` row goes before all others, and none of the rows `without`.
        """
        now, holder = self.clock(), secrets.token_bytes(16)
        with self.file.writing() as database:
            self._recover(database, now)
            _forget_ended(database, catalogue, now)
            candidates = _candidates(database, catalogue, prices, now)
            found = [each for each in candidates if each.row not in without]
            if not found:
                return None
            rank = min(each.rank for each in found)
            first = [each for each in found if each.rank == rank]
            chosen = next((each for each in found if each.row == preferred), secrets.choice(first))
            returned = _returned(database, chosen.row)
            database.execute(
                "UPDATE tokens SET state = 'held', holder = ?, since = ? WHERE id = ?",
                (holder, now, chosen.row),
            )
            token = _token(database, chosen, catalogue)
        is_fresh = not chosen.is_seen
        came_back = returned is not None and now < returned + RETURNING_SECONDS
        return Held(token, chosen.key.price, is_fresh, chosen.row, holder, came_back, returned)

    def settle(self, held: Held, outcome: Outcome) -> None:
        """Say what became of a held token; nothing if somebody else has taken it since."""
        place = (held.row, held.holder)
        with self.file.writing() as database:
            match outcome:
                case Outcome.GONE:
                    database.execute("DELETE FROM tokens WHERE id = ? AND holder = ?", place)
                case Outcome.UNSENT:
                    # It may still be on its way back from the question before.
                    _free(database, place, seen=0, since=held.returned)
                case Outcome.RETURNED:
                    _free(database, place, seen=1, since=self.clock())
                case Outcome.UNKNOWN:
                    database.execute(
                        "UPDATE tokens SET state = 'unknown', seen = 1, since = ? "
                        "WHERE id = ? AND holder = ?",
                        (self.clock(), *place),
                    )

    def recover(self) -> None:
        """Take back what a program held that was killed, and what nobody else can hold now."""
        with self.file.writing() as database:
            self._recover(database, self.clock())

    def piles(self) -> list[Pile]:
        """Return what there is, in the order in which it ends."""
        with self.file.reading() as database:
            rows = database.execute(_PILES).fetchall()
        return [Pile(row[0], row[1], PricePoint(row[2]), *row[3:]) for row in rows]

    def note_refusal(self, price: PricePoint, code: str) -> None:
        """Remember that a token was refused that had never left."""
        with self.file.writing() as database:
            database.execute(
                "INSERT INTO refusals VALUES (?, ?, ?)", (self.clock(), price.units, code)
            )

    def refusals(self) -> list[Refusals]:
        """Return how many tokens were refused although they had never left."""
        with self.file.reading() as database:
            rows = database.execute(
                "SELECT price, code, COUNT(*) FROM refusals GROUP BY price, code ORDER BY 1, 2"
            ).fetchall()
        return [Refusals(PricePoint(price), code, count) for price, code, count in rows]

    def _recover(self, database: sqlite3.Connection, now: float) -> None:
        database.execute(
            "UPDATE tokens SET state = 'unknown', seen = 1, since = ? "
            "WHERE state = 'held' AND since < ?",
            (now, now - LEASE_SECONDS),
        )
        database.execute(
            "UPDATE tokens SET state = 'ready', holder = NULL, since = NULL "
            "WHERE state = 'unknown' AND since < ?",
            (now - 2 * LEASE_SECONDS,),
        )


@dataclass(frozen=True, slots=True)
class _Candidate:
    rank: tuple[int, int, int]
    row: int
    key: CatalogueKey
    is_seen: bool


def _forget_ended(database: sqlite3.Connection, catalogue: Catalogue, now: float) -> None:
    """Delete what has ended, of tokens and purchases, if this `catalogue` is of this time.

    A clock that is years ahead would take all there is, and what was paid for cannot be had again.
    """
    if not any(_is_taken_at(key, now) for key in catalogue.keys):
        return
    # A file that was handed over may have said of a key what is not so.
    database.executemany(
        "UPDATE keys SET redeem_until = ? WHERE key_id = ? AND redeem_until <> ?",
        [
            (key.epoch.redeem_until, key.key.key_id, key.epoch.redeem_until)
            for key in catalogue.keys
        ],
    )
    for statement in _FORGET_ENDED:
        database.execute(statement, (now - KEPT_SECONDS,))


def _candidates(
    database: sqlite3.Connection, catalogue: Catalogue, prices: Iterable[PricePoint], now: float
) -> list[_Candidate]:
    """Return the tokens that can be taken; a key counts if the attested catalogue names it."""
    found = []
    for place, price in enumerate(prices):
        for key in catalogue.keys:
            if key.price != price or not _is_taken_at(key, now):
                continue
            rows = database.execute(_READY, (key.key.key_id, catalogue.issuer, catalogue.origin))
            for row, seen, gained in rows:
                # Of what rests and what was seen the latter goes first: by its time a token that
                # was just bought can be tied to who bought it, and by more than the enclave.
                kind = 1 if seen else 2 if now < gained + SPREAD_SECONDS else 0
                rank = (place, kind, key.epoch.redeem_until)
                found.append(_Candidate(rank, row, key, bool(seen)))
    return found


def _is_taken_at(key: CatalogueKey, now: float) -> bool:
    return key.epoch.issue_from - SKEW_SECONDS <= now < key.epoch.redeem_until - SPARE_SECONDS


def _token(database: sqlite3.Connection, chosen: _Candidate, catalogue: Catalogue) -> Token:
    nonce, authenticator = database.execute(
        "SELECT nonce, authenticator FROM tokens WHERE id = ?", (chosen.row,)
    ).fetchone()
    return Token(nonce, catalogue.challenge.digest, chosen.key.key.key_id, authenticator)


def _returned(database: sqlite3.Connection, row: int) -> float | None:
    """Return when a token that is READY came back."""
    since: float | None
    (since,) = database.execute("SELECT since FROM tokens WHERE id = ?", (row,)).fetchone()
    return since


def _free(
    database: sqlite3.Connection,
    place: tuple[int, bytes],
    *,
    seen: int,
    since: float | None = None,
) -> None:
    """Have a token READY; `since` is when it came back."""
    database.execute(
        "UPDATE tokens SET state = 'ready', seen = MAX(seen, ?), holder = NULL, since = ? "
        "WHERE id = ? AND holder = ?",
        (seen, since, *place),
    )


_READY = """
SELECT tokens.id, seen, gained FROM tokens JOIN keys ON keys.id = tokens.key
WHERE state = 'ready' AND key_id = ? AND issuer = ? AND origin = ?"""

_PILES = """
SELECT issuer, origin, price, redeem_until,
    SUM(state = 'ready' AND NOT seen), SUM(state = 'ready' AND seen),
    SUM(state = 'held'), SUM(state = 'unknown')
FROM tokens JOIN keys ON keys.id = tokens.key
GROUP BY keys.id ORDER BY redeem_until, price"""

_FORGET_ENDED = (
    "DELETE FROM tokens WHERE key IN (SELECT id FROM keys WHERE redeem_until < ?)",
    "DELETE FROM purchases WHERE key IN (SELECT id FROM keys WHERE redeem_until < ?)",
)
