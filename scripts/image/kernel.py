"""The kernel of every image: the one whose hash is recorded, wherever its bytes come from.

It is given, or kept from before, or built. Since only the recorded bytes are taken, none of the
three has to be trusted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.image import kernel_build
from scripts.image.kernel_build import SOURCE_PACKAGE, KernelError, Say
from scripts.image.locks import Lock, read_lock
from scripts.image.pool import Pool

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
CONFIGURATION = DEPLOY / "kernel.config"
LOCK = DEPLOY / "kernel.lock"
RECORD = DEPLOY / "kernel.sha256"
# As AWS's own images have it, but that a panic ends the enclave after one second.
CMDLINE = "reboot=k panic=1 console=ttyS0 pci=off random.trust_cpu=on quiet"

_BUILDING = "kernel-build-"  # begins the names of directories to build in


@dataclass(frozen=True, slots=True)
class Kernel:
    """The version of the source that a kernel is built from, and its file."""

    version: str
    image: bytes


def provide(given: Path | None, pool: Pool, work: Path, say: Say) -> Kernel:
    """Return the recorded kernel: `given`, kept, or built below `work`; or raise KernelError."""
    lock = read_lock(LOCK)
    [source] = lock.only([SOURCE_PACKAGE])
    if given:
        return Kernel(source.version, checked(given.read_bytes(), str(given)))
    return Kernel(source.version, _kept_or_built(lock, pool, work, say))


def recorded() -> str:
    """Return the SHA-256 of the kernel, as `sha256sum` would write it in its record."""
    found = re.fullmatch(r"([0-9a-f]{64}) [ *]bzImage\n", RECORD.read_text())
    if not found:
        raise KernelError(f"{RECORD.name} is not one line of a SHA-256 and bzImage")
    return found[1]


def record(image: bytes) -> None:
    """Make `image` the recorded kernel, which is the decision to have another."""
    RECORD.write_text(f"{digest(image)}  bzImage\n")


def checked(image: bytes, origin: str) -> bytes:
    """Return `image`, or raise KernelError if it is not the recorded kernel."""
    if (found := digest(image)) != (wanted := recorded()):
        raise KernelError(f"{origin} is not the kernel of {RECORD.name}: {found}, not {wanted}")
    return image


def digest(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


def cache() -> Path:
    """Return where kernels are kept: outside the checkout, so that every checkout has them."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "oblivious-inference"


def build(lock: Lock, pool: Pool, work: Path, say: Say) -> bytes:
    """Return a kernel built from the packages of `lock` in a directory below `work`."""
    files = pool.fetch_all(lock)
    work.mkdir(parents=True, exist_ok=True)
    say("building the kernel (three to eight minutes on two processors of its own, once)")
    _remove_abandoned(work)
    with (
        tempfile.TemporaryDirectory(prefix=_BUILDING, dir=work) as name,
        _held(Path(name)),
    ):
        place = Path(name).resolve()
        jobs = os.cpu_count() or 1
        return kernel_build.build(files, CONFIGURATION, place, jobs, say).read_bytes()


def _remove_abandoned(work: Path) -> None:
    """Remove what builds have left that were killed: those that go on hold theirs."""
    for left in work.glob(f"{_BUILDING}*"):
        with suppress(OSError), _held(left):
            shutil.rmtree(left)


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold a lock on `directory`, which ends with this process; BlockingIOError if another does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _kept_or_built(lock: Lock, pool: Pool, work: Path, say: Say) -> bytes:
    kept = cache() / f"kernel-{recorded()}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _alone(kept.with_name("kernel.lock"), say):
        if kept.exists():
            if digest(image := kept.read_bytes()) == recorded():
                return image
            say(f"{kept} is damaged")
        image = checked(build(lock, pool, work, say), "what was built")
        draft = kept.with_suffix(".draft")
        draft.write_bytes(image)
        draft.replace(kept)
        return image


@contextmanager
def _alone(path: Path, say: Say) -> Iterator[None]:
    """Let one process at a time build: another would only build the same."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build, which makes the same kernel")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
