"""The first step: what a database that it made keeps, and what it refuses."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from token_issuer.migrations.versions import v0001_ledger

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


def test_it_is_the_first() -> None:
    assert (v0001_ledger.revision, v0001_ledger.down_revision) == ("0001", None)


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
