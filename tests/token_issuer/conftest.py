"""What the tests of the issuer share: databases of both kinds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.issuing import Shop
from tests.support.postgresql import PostgreSql, running_postgresql, why_not
from token_issuer.database import open_database
from token_issuer.ledger import Ledger
from token_issuer.upgrade import upgrade


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """A server for all tests."""
    if reason := why_not():
        pytest.skip(reason)
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.sqlite3"
        return
    server: PostgreSql = request.getfixturevalue("postgresql")
    made = server.new_database()
    yield made
    server.take_back(made)


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    """A database with the ledger's tables."""
    engine = open_database(address)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    """A ledger whose accounts may have as much signed as they pay for."""
    return Ledger(engine, 1_000_000)


@pytest.fixture
def shop(ledger: Ledger) -> Shop:
    """An issuer on that ledger."""
    return Shop(ledger)
