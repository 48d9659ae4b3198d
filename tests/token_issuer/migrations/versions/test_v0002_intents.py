"""The second step: a ledger of before keeps what it had, and a payment has one intent."""

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from token_issuer.database import open_database
from token_issuer.migrations.versions import v0002_intents
from token_issuer.upgrade import _config, upgrade

ACCOUNT = "INSERT INTO accounts VALUES (1, :hash, '', 0, 5, :no, NULL, 0, 1, 60, 0, 0, 0, 0)"
INTENT = (
    "INSERT INTO intents VALUES ('a', :hash, 100, 0, 300, 'open', :no, 'h', 40, '{}', '{}', '')"
)
VALUES = {"hash": bytes(32), "no": False}


def insert(connection: Connection, query: str) -> None:
    connection.execute(text(query), VALUES)


def test_it_is_the_second() -> None:
    assert (v0002_intents.revision, v0002_intents.down_revision) == ("0002", "0001")


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
