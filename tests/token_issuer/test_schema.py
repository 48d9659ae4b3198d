"""The tables that queries are written for are those that the steps make."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from token_issuer.schema import METADATA, TOKENS, entries


def test_the_database_has_the_same_columns(engine: Engine) -> None:
    looked = inspect(engine)
    for name, table in METADATA.tables.items():
        there = {each["name"]: each["nullable"] for each in looked.get_columns(name)}
        assert there == {column.name: column.nullable for column in table.columns}


def test_the_database_has_the_same_types_indexes_and_keys(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        looked = inspect(connection)
        for name, table in METADATA.tables.items():
            there = looked.get_pk_constraint(name)["constrained_columns"]
            assert there == [column.name for column in table.primary_key]


def test_payments_are_all_kinds_but_one() -> None:
    (index,) = (each for each in entries.indexes if each.name == "once_a_payment")
    for dialect in ("sqlite", "postgresql"):
        assert str(index.dialect_options[dialect]["where"]) == f"kind <> '{TOKENS}'"
