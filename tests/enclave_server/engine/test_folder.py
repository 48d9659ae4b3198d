"""The folder of the engine's socket is gone with its server, however that ends."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from enclave_server.engine.folder import (
    SOCKET_NAME,
    _opened,
    remove_abandoned,
    socket_folder,
)

PROGRAM = (
    "import time\n"
    "from enclave_server.engine.folder import socket_folder\n"
    "with socket_folder() as folder:\n"
    "    (folder / 'engine.sock').touch()\n"
    "    print(folder, flush=True)\n"
    "    time.sleep(1000)\n"
)


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def another_server(parent: Path) -> tuple[subprocess.Popen[bytes], Path]:
    environment = {**os.environ, "TMPDIR": str(parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().decode().strip())


def test_it_is_closed_to_others_and_goes_with_its_server(parent: Path) -> None:
    with socket_folder() as folder:
        assert folder.parent == parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / SOCKET_NAME).touch()
    assert not list(parent.iterdir())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_stays_open(parent: Path) -> None:
    (parent / "engine-old").mkdir(0o700)
    before = descriptors()
    with socket_folder():
        assert descriptors() == before + 1  # the lock
    assert descriptors() == before


def test_a_folder_that_another_server_removes_is_left_to_it(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its lock a server that starts may take it for an abandoned one."""
    lock = fcntl.flock
    met: list[Path] = []

    def held_by_another(descriptor: int, operation: int) -> None:
        (new,) = set(parent.iterdir()).difference(met)
        met.append(new)
        if len(met) == 1:
            raise BlockingIOError(errno.EAGAIN, "another has it")
        lock(descriptor, operation)
        if len(met) == 2:
            new.rmdir()  # another had it, and has removed it

    monkeypatch.setattr(fcntl, "flock", held_by_another)
    with socket_folder() as folder:
        assert folder.is_dir()
        assert met == [met[0], met[1], folder]
        assert met[0] != folder != met[1]


def test_an_error_within_is_not_swallowed(parent: Path) -> None:
    with pytest.raises(OSError, match="within"), socket_folder():
        raise OSError("within")
    assert not list(parent.iterdir())


def test_what_a_killed_server_left_is_removed_by_the_next(parent: Path) -> None:
    process, left = another_server(parent)
    with process:
        with socket_folder():
            assert left.is_dir()  # it is in use
        process.send_signal(signal.SIGKILL)
    assert (left / SOCKET_NAME).exists()
    with socket_folder() as folder:
        assert [*parent.iterdir()] == [folder]


def test_what_is_not_ours_stays(parent: Path) -> None:
    (parent / "engine-open").mkdir()
    (parent / "engine-open").chmod(0o755)
    (parent / "engine-full").mkdir(0o700)
    (parent / "engine-full" / "other").touch()
    (parent / "engine-file").touch()
    (parent / "engine-link").symlink_to(parent / "elsewhere")
    (parent / "elsewhere").mkdir(0o700)
    before = sorted(parent.rglob("*"))
    remove_abandoned(parent)
    assert sorted(parent.rglob("*")) == before


def test_only_a_folder_itself_is_opened_and_for_no_other_program(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(NotADirectoryError), _opened(tmp_path / name):
            pytest.fail("it was opened")
    with _opened(tmp_path) as descriptor:
        assert not os.get_inheritable(descriptor)
