"""Bringing a database to the newest step, whoever else tries the same at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from token_issuer.database import DatabaseError, open_database
from token_issuer.ledger import Ledger
from token_issuer.settings import Settings

STEPS = Path(__file__).with_name("migrations")

_LOCK = 0x4F424C  # any number that no other program of the database takes


def upgrade(engine: Engine) -> None:
    """Take all steps that are not yet taken, in one transaction; DatabaseError for unknown ones."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # SQLite's transaction keeps others out by itself.
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
        try:
            command.upgrade(_config(connection), "head")
        except CommandError:
            raise DatabaseError("The ledger is of a later release: update the issuer.") from None


@contextmanager
def upgraded_ledger(settings: Settings) -> Iterator[Ledger]:
    """Give the ledger of the settings, at the newest step, and leave the database at the end."""
    engine = open_database(settings.database)
    try:
        upgrade(engine)
        yield Ledger(engine, settings.tokens_per_minute)
    finally:
        engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(STEPS))
    config.attributes["connection"] = connection
    return config
