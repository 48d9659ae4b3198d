"""The folder of the engine's socket: of this server alone, and gone with it.

A server that is killed leaves its folder behind. The next one removes it: one that is in use is
locked, and a lock ends with its process, however that ends.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "engine-"
SOCKET_NAME = "engine.sock"


@contextlib.contextmanager
def socket_folder() -> Iterator[Path]:
    """Yield a new folder of mode 0700, having removed those that were left behind."""
    remove_abandoned(Path(tempfile.gettempdir()))
    with _locked() as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of our user in `parent` that no process holds."""
    for folder in sorted(parent.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError), _opened(folder) as descriptor:
            if _is_ours(folder, descriptor):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


def _is_ours(folder: Path, descriptor: int) -> bool:
    """Whether it is what we make: of our user, closed to others, with a socket or nothing in it."""
    status = os.fstat(descriptor)
    names = {entry.name for entry in folder.iterdir()}
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077 and names <= {SOCKET_NAME}


@contextlib.contextmanager
def _locked() -> Iterator[Path]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with _opened(folder) as descriptor:
            if _lock(folder, descriptor):
                yield folder
                return


def _lock(folder: Path, descriptor: int) -> bool:
    """Lock a new folder; False if another server that starts in this moment is removing it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return folder.is_dir()


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
