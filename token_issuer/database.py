"""The database of the ledger: SQLite, or PostgreSQL through psycopg."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

BUSY_SECONDS = 20
"""For which a writer waits for another, and a statement for its end: less than a request may take.

A purchase holds SQLite's lock for some milliseconds, but who waits looks now and then, in no order.
"""

CONNECT_SECONDS = 5
"""For PostgreSQL to take a connection."""

_POSTGRESQL = "postgresql+psycopg"
_SYNC_DRIVERS = {"sqlite": "sqlite", "postgresql": _POSTGRESQL, _POSTGRESQL: _POSTGRESQL}


class DatabaseError(Exception):
    """The configured database cannot be used; one sentence says why."""


def open_database(address: str) -> Engine:
    """Return an engine, of which each process needs its own; nothing is connected yet."""
    url = _url(address)
    if url.drivername == "sqlite":
        return _sqlite(url)
    waits = {
        "connect_timeout": CONNECT_SECONDS,
        "options": f"-c lock_timeout={BUSY_SECONDS}s -c statement_timeout={BUSY_SECONDS}s",
    }
    # A connection that the server has ended meanwhile is noticed before it is used.
    return create_engine(url, connect_args=waits, pool_pre_ping=True)


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError:
        raise DatabaseError("The database is no URL, such as sqlite:////path/to/file.") from None
    driver = _SYNC_DRIVERS.get(url.drivername)
    if driver is None:
        raise DatabaseError("The database is none of sqlite:///... and postgresql://...")
    return url.set(drivername=driver)


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise DatabaseError("SQLite needs a file, which all processes share.")
    _make_private(Path(url.database))
    engine = create_engine(url)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _make_private(path: Path) -> None:
    """Make the file, if there is none, before SQLite makes one that others can read.

    A file that is there is not touched: closing it would end all locks that this process has on it
    (fcntl(2)), and the next one to leave would take the log of writes away from whoever reads it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise DatabaseError(f"{path} cannot be made: {error.strerror}.") from None


def _prepare(connection: Any, _: object) -> None:
    # The driver would begin transactions on its own, and late: two that read before either writes
    # would both go on with what they read.
    connection.isolation_level = None
    for setting in (
        f"busy_timeout = {1000 * BUSY_SECONDS}",
        "journal_mode = WAL",
        # A purchase that was answered outlives a loss of power.
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


READ_ONLY = "ledger_read_only"
"""The execution option of a transaction that writes nothing and need not wait for one that does."""
