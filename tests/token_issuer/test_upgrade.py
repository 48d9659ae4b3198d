"""Bringing a database to the newest step, as each command does."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from tests.support.postgresql import PostgreSql
from token_issuer.database import DatabaseError, open_database
from token_issuer.settings import Settings
from token_issuer.upgrade import _LOCK, upgrade, upgraded_ledger


def test_a_ledger_is_there_however_often_it_is_opened(address: str, tmp_path: Path) -> None:
    settings = Settings(database=address, keys=tmp_path)
    for _ in range(2):
        with upgraded_ledger(settings) as ledger:
            assert ledger.find(bytes(32), 0) is None
            upgrade(ledger.engine)


def test_a_ledger_of_a_later_release_is_left_alone(address: str, tmp_path: Path) -> None:
    settings = Settings(database=address, keys=tmp_path)
    with upgraded_ledger(settings) as ledger, ledger.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    with pytest.raises(DatabaseError, match="later release"), upgraded_ledger(settings):
        pass


def test_who_upgrades_waits_for_who_does_already(postgresql: PostgreSql) -> None:
    """Steps that two take at the same moment would meet in the middle of one another."""
    address = postgresql.new_database()
    engine = open_database(address)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as first:
            first.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            second = pool.submit(upgrade, engine)
            assert postgresql.is_waited_in(address, unless=second.done)
        second.result()
    assert inspect(engine).has_table("accounts")
    engine.dispose()
