"""Databases of the ledger: addresses that are taken, and what SQLite is told."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.support.postgresql import PostgreSql
from token_issuer.database import BUSY_SECONDS, READ_ONLY, DatabaseError, open_database
from token_issuer.serving import REQUEST_SECONDS
from token_issuer.upgrade import upgrade


def sqlite(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "no URL"),
        ("/a/file", "no URL"),
        ("mysql://host/name", "none of"),
        ("sqlite+aiosqlite:////a", "none of"),
        ("postgresql+asyncpg://host/name", "none of"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////nowhere/at/all", "cannot be made"),
    ],
)
def test_addresses_that_are_refused(address: str, reason: str) -> None:
    with pytest.raises(DatabaseError, match=reason):
        open_database(address)


def test_who_waits_is_answered_before_the_process_is_taken_for_stuck() -> None:
    assert BUSY_SECONDS < REQUEST_SECONDS


def test_postgresql_is_asked_through_one_driver() -> None:
    for address in ("postgresql://a@/b", "postgresql+psycopg://a@/b"):
        assert open_database(address).url.drivername == "postgresql+psycopg"


def test_postgresql_lets_nothing_wait_for_ever(postgresql: PostgreSql) -> None:
    engine = open_database(postgresql.new_database())
    with engine.begin() as connection:
        for name in ("lock_timeout", "statement_timeout"):
            assert connection.execute(text(f"SHOW {name}")).scalar_one() == f"{BUSY_SECONDS}s"
    engine.dispose()


def test_a_connection_that_was_ended_is_not_used_again(postgresql: PostgreSql) -> None:
    engine = open_database(postgresql.new_database())
    with engine.begin() as connection:
        own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = open_database(str(engine.url))
    with other.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:own)"), {"own": own})
    with engine.begin() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != own
    engine.dispose()
    other.dispose()


def test_the_file_is_its_owners_alone_and_what_is_written_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    engine = open_database(sqlite(path))
    with engine.begin() as connection:
        for name, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            assert connection.execute(text(f"PRAGMA {name}")).scalar_one() == value
    engine.dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_who_writes_keeps_other_writers_out_from_the_start(tmp_path: Path) -> None:
    engine = open_database(sqlite(tmp_path / "ledger.sqlite3"))
    upgrade(engine)
    reading = engine.execution_options(**{READ_ONLY: True})
    with engine.begin(), reading.begin() as reader, engine.connect() as other:
        assert reader.execute(text("SELECT count(*) FROM accounts")).scalar_one() == 0
        other.connection.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(OperationalError, match="locked"):
            other.begin()
    engine.dispose()


HELD = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(3)
"""


def test_opening_a_ledger_again_ends_no_lock_of_this_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    open_database(sqlite(path)).dispose()
    descriptor = os.open(path, os.O_RDWR)
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    open_database(sqlite(path)).dispose()
    probe = subprocess.run([sys.executable, "-c", HELD, str(path)], check=False)
    os.close(descriptor)
    assert probe.returncode == 3
