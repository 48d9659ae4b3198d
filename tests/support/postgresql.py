"""A real PostgreSQL server for tests: its own directory, a Unix socket, and no network."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

DEADLINE = 120.0
"""Seconds after which a test fails rather than hang."""

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
USER = "issuer"


def why_not() -> str:
    """Return why no server can be started here; an empty text if one can."""
    return "" if PROGRAMS else "PostgreSQL's server is not installed"


class PostgreSql:
    """A running server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self._emptied: list[str] = []

    def new_database(self) -> str:
        """Return the address of a database with nothing in it, which nobody else uses."""
        if self._emptied:
            return self._emptied.pop()
        name = f"ledger_{next(self._numbers)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._address(name)

    def take_back(self, address: str) -> None:
        """Empty a database for another test: to make one takes three times as long."""
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
        self._emptied.append(address)

    def is_waited_in(self, address: str, unless: Callable[[], bool]) -> bool:
        """Tell whether somebody comes to wait for an advisory lock of a database; `unless` ends it.

        No wait is for ever: statements of the ledger have a time.
        """
        query = (
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
        )
        with psycopg.connect(address, autocommit=True) as connection:
            while not unless():
                if connection.execute(query).fetchone() == (1,):
                    return True
        return False

    def _address(self, name: str) -> str:
        return f"postgresql://{USER}@/{name}?host={self._directory}"


def _account() -> str | None:
    """Return as whom the server runs: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    names = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _await(server: subprocess.Popen[bytes], probe: Path, directory: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while subprocess.run([probe, "-q", "-h", directory], check=False).returncode != 0:
        assert server.poll() is None, "PostgreSQL has ended"
        assert time.monotonic() < deadline, "PostgreSQL does not answer"
        time.sleep(0.05)


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgreSql]:
    """Run a server with an empty cluster, and end it."""
    account, programs = _account(), PROGRAMS[-1].parent
    directory = Path(tempfile.mkdtemp(prefix="oi-postgresql-"))
    if account is not None:
        shutil.chown(directory, account)
    data = directory / "data"
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    try:
        subprocess.run(
            [programs / "initdb", "--no-sync", "--auth=trust", f"--username={USER}", "-D", data],
            check=True,
            capture_output=True,
            timeout=DEADLINE,
            user=account,
            env=environment,
            cwd="/",
        )
        # Nothing of it outlives the tests: it need not wait for the disk.
        settings = ("listen_addresses=", f"unix_socket_directories={directory}", "fsync=off")
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *(f"-c{each}" for each in settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account,
            env=environment,
            cwd="/",
        )
        try:
            _await(server, programs / "pg_isready", directory)
            yield PostgreSql(directory)
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(DEADLINE)
    finally:
        shutil.rmtree(directory)
