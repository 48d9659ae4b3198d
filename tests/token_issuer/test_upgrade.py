"""Bringing a database to the newest step, as each command does."""

from pathlib import Path

import pytest
from sqlalchemy import text

from token_issuer.database import DatabaseError
from token_issuer.settings import Settings
from token_issuer.upgrade import upgrade, upgraded_ledger


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
