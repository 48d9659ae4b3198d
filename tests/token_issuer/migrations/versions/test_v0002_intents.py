"""The second step: a ledger of before keeps what it had, and a payment has one intent."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from tests.token_issuer.migrations.versions import test_v0001_ledger
from tests.token_issuer.migrations.versions.test_v0001_ledger import made, plain
from token_issuer.database import open_database
from token_issuer.migrations.versions import v0002_intents
from token_issuer.upgrade import _config, upgrade

ACCOUNT = "INSERT INTO accounts VALUES (1, :hash, '', 0, 5, :no, NULL, 0, 1, 60, 0, 0, 0, 0)"
INTENT = (
    "INSERT INTO intents VALUES ('a', :hash, 100, 0, 300, 'open', :no, 'h', 40, '{}', '{}', '')"
)
# What it always makes, beside what was there: see the first step's.
MADE = {
    "intents": """
        CREATE TABLE intents (
            reference VARCHAR(64) NOT NULL,
            secret_hash BLOB NOT NULL,
            units BIGINT NOT NULL,
            at BIGINT NOT NULL,
            ends BIGINT NOT NULL,
            state VARCHAR(8) NOT NULL,
            in_doubt BOOLEAN NOT NULL,
            holder VARCHAR(32) NOT NULL,
            held_until FLOAT NOT NULL,
            document TEXT NOT NULL,
            terms TEXT NOT NULL,
            settlement VARCHAR(66) NOT NULL,
            PRIMARY KEY (reference) )
    """,
    "ix_intents_secret_hash": "CREATE INDEX ix_intents_secret_hash ON intents (secret_hash)",
}
VALUES = {"hash": bytes(32), "no": False}


def insert(connection: Connection, query: str) -> None:
    connection.execute(text(query), VALUES)


def test_it_is_the_second() -> None:
    assert (v0002_intents.revision, v0002_intents.down_revision) == ("0002", "0001")


def test_it_makes_what_it_always_made(tmp_path: Path) -> None:
    found = made(f"sqlite:///{tmp_path}/ledger", "0002")
    before = {*test_v0001_ledger.MADE}
    assert {name: sql for name, sql in found.items() if name not in before} == {
        name: plain(sql) for name, sql in MADE.items()
    }


def test_a_ledger_of_before_keeps_what_it_had(address: str) -> None:
    engine = open_database(address)
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0001")
        insert(connection, ACCOUNT)
    upgrade(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT balance FROM accounts")).scalar_one() == 5
        insert(connection, INTENT)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        insert(connection, INTENT)
    engine.dispose()
