"""The wallet's file: SQLite, its schema, and what can be wrong with it.

Every transaction has a connection of its own: threads and processes share nothing but the file.
What is deleted is overwritten (`secure_delete`), and a commit is on the disk when it returns, with
the end of its journal (`synchronous = EXTRA`): a purchase that has been paid for is never unknown
here. SQLite's own locks keep two writers apart; a writer waits for BUSY_SECONDS. The schema has a
number (`user_version`), and a file of an earlier one is brought up to date in one transaction.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from oblivious_client import places
from oblivious_client.errors import WalletUnusable

BUSY_SECONDS = 30.0
"""A transaction takes milliseconds: who waits longer waits for a program that hangs."""

APPLICATION = 0x4F424C57
"""Of SQLite's `application_id`: "OBLW"."""

_SETTINGS = (
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = EXTRA",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION}",
        # A key is for one challenge: issuer and origin.
        """CREATE TABLE keys (
            id INTEGER PRIMARY KEY,
            spki BLOB NOT NULL,
            key_id BLOB NOT NULL,
            issuer TEXT NOT NULL,
            origin TEXT NOT NULL,
            price INTEGER NOT NULL,
            issue_from INTEGER NOT NULL,
            issue_until INTEGER NOT NULL,
            redeem_until INTEGER NOT NULL,
            UNIQUE (key_id, issuer, origin))""",
        # What was asked of an issuer, to the octet: asked again it costs nothing.
        """CREATE TABLE purchases (
            id INTEGER PRIMARY KEY,
            key INTEGER NOT NULL REFERENCES keys,
            issuer_url TEXT NOT NULL,
            account BLOB NOT NULL,
            begun REAL NOT NULL,
            request BLOB NOT NULL)""",
        # Whoever has these can tie a token to its purchase: they go when the token comes.
        """CREATE TABLE pending (
            purchase INTEGER NOT NULL REFERENCES purchases ON DELETE CASCADE,
            place INTEGER NOT NULL,
            nonce BLOB NOT NULL,
            inverse BLOB NOT NULL,
            PRIMARY KEY (purchase, place)) WITHOUT ROWID""",
        """CREATE TABLE tokens (
            id INTEGER PRIMARY KEY,
            key INTEGER NOT NULL REFERENCES keys,
            nonce BLOB NOT NULL UNIQUE,
            authenticator BLOB NOT NULL,
            gained REAL NOT NULL,
            seen INTEGER NOT NULL DEFAULT 0,
            state TEXT NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'held', 'unknown')),
            holder BLOB,
            since REAL)""",
        # The last receipt of each issuer, for a purchase that is not honoured.
        """CREATE TABLE receipts (
            issuer_url TEXT PRIMARY KEY,
            request_digest BLOB NOT NULL,
            receipt TEXT NOT NULL,
            at REAL NOT NULL)""",
        # Tokens that were refused although nobody had been shown them.
        "CREATE TABLE refusals (at REAL NOT NULL, price INTEGER NOT NULL, code TEXT NOT NULL)",
    ),
)
"""Of each version its statements; they bring a file of the version before to it."""

_REASONS = {
    "SQLITE_FULL": ("the disk is full", "make room; nothing in the wallet was changed"),
    "SQLITE_READONLY": ("it cannot be written", "make file and folder writable for yourself"),
    "SQLITE_CANTOPEN": ("it cannot be opened", "check the path, and who may read it"),
    "SQLITE_PERM": ("it cannot be opened", "check who may read it"),
    "SQLITE_BUSY": ("another program keeps it locked", "try again when that has ended"),
    "SQLITE_LOCKED": ("another program keeps it locked", "try again when that has ended"),
    "SQLITE_NOTADB": ("it is not a wallet", "name another file with --wallet"),
    "SQLITE_CORRUPT": (
        "the file is damaged",
        "restore it from a copy: what was spent since is known",
    ),
    "SQLITE_IOERR": ("reading or writing it failed", "is there room, and is the disk sound?"),
}
_OTHERWISE = ("it cannot be used", "name another file with --wallet")


@dataclass(frozen=True, slots=True)
class WalletFile:
    """A file of tokens, for its owner alone; raises WalletUnusable."""

    path: Path

    @property
    def exists(self) -> bool:
        """Whether there is a file, as far as this user can see."""
        try:
            return self.path.exists()
        except OSError:
            return False

    @property
    def is_open_to_others(self) -> bool:
        """Whether other users of this machine can read or write it."""
        try:
            return bool(stat.S_IMODE(self.path.stat().st_mode) & 0o077)
        except OSError:
            return False

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose changes are all made when the block ends, or none is."""
        with self._translated(), closing(self._connected()) as database:
            database.execute("BEGIN IMMEDIATE")
            with _ended(database):
                yield database

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the file; one that cannot be written will do."""
        with self._translated(), closing(self._connected()) as database:
            database.execute("BEGIN")
            with _ended(database):
                yield database

    def _connected(self) -> sqlite3.Connection:
        self._make()
        database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            for setting in _SETTINGS:
                database.execute(setting)
            self._migrate(database)
        except BaseException:
            database.close()
            raise
        return database

    def _make(self) -> None:
        """Make the file before SQLite would, which leaves its mode to the umask."""
        if self.exists:
            return
        try:
            places.make_private(self.path.parent)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise self._unusable(f"it cannot be made ({error.strerror})", _OTHERWISE[1]) from error

    def _migrate(self, database: sqlite3.Connection) -> None:
        if _version(database) == len(MIGRATIONS):
            self._require_ours(database)
            return
        database.execute("BEGIN IMMEDIATE")
        with _ended(database):
            version = _version(database)  # another program may have been quicker
            if version or _has_tables(database):
                self._require_ours(database)
            if version > len(MIGRATIONS):
                raise self._unusable(
                    "a later release has written it", "update the client, or name another wallet"
                )
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _require_ours(self, database: sqlite3.Connection) -> None:
        if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise self._unusable(*_REASONS["SQLITE_NOTADB"])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(*_reason(error)) from error

    def _unusable(self, reason: str, advice: str) -> WalletUnusable:
        return WalletUnusable(f"the wallet {self.path} cannot be used: {reason}", advice=advice)


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _has_tables(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None


@contextmanager
def _ended(database: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end of the block; roll back if it raises, or if the commit does."""
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _reason(error: sqlite3.Error) -> tuple[str, str]:
    """Return what is wrong and what to do; of extended codes the part before counts."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return next((said for known, said in _REASONS.items() if name.startswith(known)), _OTHERWISE)
