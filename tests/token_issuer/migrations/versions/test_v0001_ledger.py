"""The first step: what a database that it made keeps, and what it refuses."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from token_issuer.database import open_database
from token_issuer.migrations.versions import v0001_ledger
from token_issuer.upgrade import _config

# As databases have them that were made by the first release: what a step makes is never changed.
MADE = {
    "accounts": """
        CREATE TABLE accounts (
            id INTEGER NOT NULL,
            secret_hash BLOB NOT NULL,
            name VARCHAR(100) NOT NULL,
            created BIGINT NOT NULL,
            balance BIGINT NOT NULL,
            disabled BOOLEAN NOT NULL,
            expires BIGINT,
            allowance BIGINT NOT NULL,
            allowance_price INTEGER NOT NULL,
            period_seconds BIGINT NOT NULL,
            period BIGINT NOT NULL,
            period_used BIGINT NOT NULL,
            burst FLOAT NOT NULL,
            burst_at FLOAT NOT NULL,
            PRIMARY KEY (id),
            CONSTRAINT balance_not_negative CHECK (balance >= 0),
            CONSTRAINT allowance_not_negative CHECK (allowance >= 0),
            CONSTRAINT period_positive CHECK (period_seconds > 0),
            UNIQUE (secret_hash) )
    """,
    "entries": """
        CREATE TABLE entries (
            id INTEGER NOT NULL,
            account INTEGER NOT NULL,
            at BIGINT NOT NULL,
            kind VARCHAR(16) NOT NULL,
            amount BIGINT NOT NULL,
            allowed BIGINT NOT NULL,
            balance BIGINT NOT NULL,
            reference VARCHAR(255) NOT NULL,
            PRIMARY KEY (id),
            CONSTRAINT once_an_account UNIQUE (account, kind, reference),
            FOREIGN KEY(account) REFERENCES accounts (id) )
    """,
    "once_a_payment": """
        CREATE UNIQUE INDEX once_a_payment ON entries (kind, reference) WHERE kind <> 'tokens'
    """,
    "issued": """
        CREATE TABLE issued (
            entry INTEGER NOT NULL,
            key_id VARCHAR(64) NOT NULL,
            tokens INTEGER NOT NULL,
            PRIMARY KEY (entry, key_id),
            FOREIGN KEY(entry) REFERENCES entries (id) )
    """,
    "ix_issued_key_id": "CREATE INDEX ix_issued_key_id ON issued (key_id)",
}

ENTRY = "INSERT INTO entries (account, at, kind, amount, allowed, balance, reference) VALUES "


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """A database with two accounts and an entry of each kind."""
    with engine.begin() as connection:
        for number in (1, 2):
            connection.execute(
                text(
                    "INSERT INTO accounts VALUES (:id, :hash, '', 0, 5, :no, NULL, 0, 1, 60, 0, 0,"
                    " 0, 0)"
                ),
                {"id": number, "hash": bytes([number]) * 32, "no": False},
            )
        connection.execute(
            text(ENTRY + "(1, 0, 'bank', 5, 0, 5, 'a'), (1, 0, 'tokens', 0, 0, 5, 'a')")
        )
    return engine


def made(address: str, revision: str) -> dict[str, str]:
    """Return what a step leaves in an empty SQLite database, each without its spacing."""
    engine = open_database(address)
    with engine.begin() as connection:
        command.upgrade(_config(connection), revision)
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql <> ''"))
        found = {name: plain(sql) for name, sql in rows if name != "alembic_version"}
    engine.dispose()
    return found


def plain(sql: str) -> str:
    return " ".join(sql.split())


def test_it_is_the_first() -> None:
    assert (v0001_ledger.revision, v0001_ledger.down_revision) == ("0001", None)


def test_it_makes_what_it_always_made(tmp_path: Path) -> None:
    found = made(f"sqlite:///{tmp_path}/ledger", "0001")
    assert found == {name: plain(sql) for name, sql in MADE.items()}


@pytest.mark.parametrize(
    "values",
    [
        "(1, 0, 'tokens', 0, 0, 5, 'a')",  # the same purchase
        "(1, 0, 'bank', 5, 0, 5, 'a')",  # the same payment
        "(2, 0, 'bank', 5, 0, 5, 'a')",  # the same payment, for another account
        "(3, 0, 'bank', 5, 0, 5, 'b')",  # for nobody
    ],
)
def test_entries_that_would_count_twice_or_for_nobody(filled: Engine, values: str) -> None:
    with pytest.raises(IntegrityError), filled.begin() as connection:
        connection.execute(text(ENTRY + values))


def test_two_accounts_may_send_the_same_request(filled: Engine) -> None:
    with filled.begin() as connection:
        connection.execute(text(ENTRY + "(2, 0, 'tokens', 0, 0, 5, 'a')"))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE accounts SET balance = -1",
        "UPDATE accounts SET allowance = -1",
        "UPDATE accounts SET period_seconds = 0",
    ],
)
def test_accounts_that_cannot_be(filled: Engine, change: str) -> None:
    with pytest.raises(IntegrityError), filled.begin() as connection:
        connection.execute(text(change))


def test_a_secret_is_of_one_account(filled: Engine) -> None:
    query = text("UPDATE accounts SET secret_hash = :hash")
    with pytest.raises(IntegrityError), filled.begin() as connection:
        connection.execute(query, {"hash": bytes(32)})
