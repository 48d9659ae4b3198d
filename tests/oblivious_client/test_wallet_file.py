"""The wallet's file: for its owner alone, whole or not changed, and one sentence for each fault."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oblivious_client import wallet_file
from oblivious_client.errors import WalletUnusable
from oblivious_client.exits import Exit
from oblivious_client.wallet import Wallet
from oblivious_client.wallet_file import APPLICATION, MIGRATIONS, WalletFile
from tests.support.wallets import C1, CATALOGUE, Clock, counts, fill, is_sound

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path: Path) -> WalletFile:
    return WalletFile(tmp_path / "data" / "wallet.sqlite3")


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def refusal_of(file: WalletFile) -> WalletUnusable:
    with pytest.raises(WalletUnusable) as caught, file.writing() as database:
        database.execute("INSERT INTO refusals VALUES (1, 1, 'x')")
    assert caught.value.code is Exit.WALLET
    assert str(file.path) in str(caught.value)
    assert caught.value.advice
    return caught.value


def test_it_is_made_for_its_owner_alone(file: WalletFile) -> None:
    assert not file.path.exists()
    before = os.umask(0)
    try:
        with file.reading() as database:
            assert database.execute("SELECT COUNT(*) FROM tokens").fetchone() == (0,)
    finally:
        os.umask(before)
    assert file.exists
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert not file.is_open_to_others


def test_the_journal_is_for_its_owner_alone_too(file: WalletFile) -> None:
    with file.writing() as database:
        database.execute("INSERT INTO refusals VALUES (1, 1, 'x')")
        (journal,) = file.path.parent.glob("*-journal")
        assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert [each.name for each in file.path.parent.iterdir()] == [file.path.name]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_mode_that_lets_others_in_shows(file: WalletFile, mode: int) -> None:
    with file.reading():
        pass
    file.path.chmod(mode)
    assert file.is_open_to_others


def test_no_file_is_open_to_nobody(file: WalletFile) -> None:
    assert not file.is_open_to_others


def test_what_is_deleted_is_overwritten_and_what_is_committed_is_on_the_disk(
    file: WalletFile,
) -> None:
    with file.reading() as database:
        values = [
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        ]
    assert values == ["delete", 3, 1, 1]


def test_a_block_that_raises_changes_nothing(file: WalletFile) -> None:
    def fail() -> None:
        with file.writing() as database:
            database.execute("INSERT INTO refusals VALUES (1, 1, 'x')")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with file.reading() as database:
        assert database.execute("SELECT COUNT(*) FROM refusals").fetchone() == (0,)


def test_two_writers_wait_for_each_other(file: WalletFile) -> None:
    with file.reading():
        pass
    begun, results = threading.Event(), []

    def second() -> None:
        begun.set()
        with file.writing() as database:
            results.append(database.execute("SELECT COUNT(*) FROM refusals").fetchone()[0])

    thread = threading.Thread(target=second)
    with file.writing() as database:
        thread.start()
        assert begun.wait(60)
        database.execute("INSERT INTO refusals VALUES (1, 1, 'x')")
    thread.join(60)
    assert results == [1]


def test_who_waits_too_long_is_told(file: WalletFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wallet_file, "BUSY_SECONDS", 0.01)
    with file.writing():
        assert "keeps it locked" in str(refusal_of(file))


# Versions.


def test_a_file_of_an_earlier_version_is_brought_up_to_date(
    file: WalletFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with file.writing() as database:
        database.execute("INSERT INTO refusals VALUES (1, 1, 'kept')")
    assert version_of(file.path) == len(MIGRATIONS) == 1
    later = (*MIGRATIONS, ("ALTER TABLE refusals ADD COLUMN origin TEXT DEFAULT 'none'",))
    monkeypatch.setattr(wallet_file, "MIGRATIONS", later)
    with file.reading() as database:
        assert database.execute("SELECT code, origin FROM refusals").fetchall() == [
            ("kept", "none")
        ]
    assert version_of(file.path) == 2


def test_an_update_that_fails_leaves_what_was(
    file: WalletFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with file.reading():
        pass
    broken = (*MIGRATIONS, ("CREATE TABLE more (a INTEGER)", "CREATE TABLE more (a INTEGER)"))
    with monkeypatch.context() as changed:
        changed.setattr(wallet_file, "MIGRATIONS", broken)
        refusal_of(file)
    assert version_of(file.path) == 1
    with file.reading() as database:
        assert database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'more'").fetchall() == []


def test_a_file_of_a_later_version_is_left_alone(file: WalletFile) -> None:
    with file.reading():
        pass
    with closing(sqlite3.connect(file.path)) as database:
        database.execute("PRAGMA user_version = 99")
    assert "a later release has written it" in str(refusal_of(file))
    assert version_of(file.path) == 99


# What is none of ours, or cannot be used.


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE tokens (mine TEXT)")
    before = path.read_bytes()
    assert "is not a wallet" in str(refusal_of(WalletFile(path)))
    assert path.read_bytes() == before


def test_a_database_with_our_number_and_another_name_is_left_alone(file: WalletFile) -> None:
    with file.reading():
        pass
    with closing(sqlite3.connect(file.path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        database.execute("PRAGMA application_id = 1")
    assert "is not a wallet" in str(refusal_of(file))


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"not a database, but long enough to be read as the head of one" * 20)
    before = path.read_bytes()
    assert "is not a wallet" in str(refusal_of(WalletFile(path)))
    assert path.read_bytes() == before


def test_a_damaged_file_is_told(file: WalletFile) -> None:
    with file.writing() as database:
        database.executemany(
            "INSERT INTO refusals VALUES (?, 1, ?)", [(n, "x" * 100) for n in range(500)]
        )
    data = bytearray(file.path.read_bytes())
    data[4096 * 2 :] = b"\xff" * len(data[4096 * 2 :])
    file.path.write_bytes(data)
    assert "damaged" in str(refusal_of(file))


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    assert "cannot be opened" in str(refusal_of(WalletFile(tmp_path)))


def test_a_place_where_nothing_can_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "it cannot be made" in str(refusal_of(WalletFile(tmp_path / "file" / "wallet.sqlite3")))


FILLING = """
import resource, signal, sys
from oblivious_client.wallet_file import WalletFile
from oblivious_client.errors import WalletUnusable
from pathlib import Path
file = WalletFile(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (file.path.stat().st_size, resource.RLIM_INFINITY))
try:
    with file.writing() as database:
        rows = [(n, "y" * 500) for n in range(2000)]
        database.executemany("INSERT INTO refusals VALUES (?, 1, ?)", rows)
except WalletUnusable as error:
    print(error)
"""


def test_a_file_that_cannot_grow_keeps_what_it_has(tmp_path: Path) -> None:
    wallet = Wallet(tmp_path / "wallet.sqlite3", clock=Clock())
    fill(wallet, 3)
    done = subprocess.run(
        [sys.executable, "-c", FILLING, str(wallet.file.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "reading or writing it failed" in done.stdout
    assert is_sound(wallet.file.path)
    assert counts(wallet) == (3, 0, 0, 0)


def test_a_full_disk_is_told_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = Wallet(tmp_path / "wallet.sqlite3", clock=Clock())
    fill(wallet, 3)
    pages = wallet.file.path.stat().st_size // 4096
    full = (*wallet_file._SETTINGS, f"PRAGMA max_page_count = {pages}")
    with monkeypatch.context() as changed:
        changed.setattr(wallet_file, "_SETTINGS", full)
        with pytest.raises(WalletUnusable, match="the disk is full"):
            fill(wallet, 200)
        # What takes no room goes on.
        assert wallet.take(CATALOGUE, [C1]) is not None
    assert counts(wallet) == (2, 0, 1, 0)


READING = """
import os, sys
from pathlib import Path
from oblivious_client.errors import WalletUnusable
from oblivious_client.wallet import Wallet
from tests.support.wallets import CATALOGUE, C1, counts
if os.getuid() == 0:  # whom no permission stops
    os.setgid(65534)
    os.setuid(65534)
wallet = Wallet(Path(sys.argv[1]), clock=lambda: 1_800_000_000.0)
print(counts(wallet))
try:
    wallet.take(CATALOGUE, [C1])
except WalletUnusable as error:
    print(error)
print(counts(wallet))
"""


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Give a folder that every user reaches, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        Path(name).chmod(0o700)


def test_a_file_that_may_only_be_read_can_be_listed(public_folder: Path) -> None:
    wallet = Wallet(public_folder / "wallet.sqlite3", clock=Clock())
    fill(wallet, 3)
    wallet.file.path.chmod(0o444)
    public_folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", READING, str(wallet.file.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    first, refused, last = done.stdout.splitlines() or [done.stderr, "", ""]
    assert first == last == "(3, 0, 0, 0)"
    assert "it cannot be written" in refused
