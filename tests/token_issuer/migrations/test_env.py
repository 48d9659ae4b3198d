"""The steps of the ledger's tables: together they make what `schema` says, on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from token_issuer.database import open_database
from token_issuer.schema import METADATA
from token_issuer.upgrade import upgrade


def test_all_steps_make_the_tables_that_the_ledger_uses(engine: Engine) -> None:
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == "0002"


def test_conditions_are_made_too(engine: Engine) -> None:
    looked = inspect(engine)
    names = {each["name"] for each in looked.get_check_constraints("accounts")}
    assert names >= {"balance_not_negative", "allowance_not_negative", "period_positive"}
    unique = {each["name"] for each in looked.get_unique_constraints("entries")}
    assert "once_an_account" in unique


def test_eight_that_begin_at_once_take_each_step_once(address: str) -> None:
    engines = [open_database(address) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upgrade, engines))
    with engines[0].begin() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).all()
    assert [tuple(row) for row in found] == [("0002",)]
    for each in engines:
        each.dispose()


def test_a_step_that_fails_leaves_nothing_behind(address: str) -> None:
    engine = open_database(address)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE issued (something INTEGER)"))
    with pytest.raises(DBAPIError, match="issued"):
        upgrade(engine)
    assert set(inspect(engine).get_table_names()) == {"issued"}
    engine.dispose()
