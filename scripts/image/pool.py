"""Fetch pinned packages by their paths: from a directory, Debian's pools, its snapshot archive.

No index is asked, so a package that has left it is found all the same. apt's own downloader is
used, with this machine's settings; what it brings counts only with the pinned size and hash.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.image.locks import Lock, Package, PackageError

MIRROR_VARIABLE, SNAPSHOT_VARIABLE = "DEBIAN_MIRROR", "DEBIAN_SNAPSHOT"
FETCH_SECONDS = 600
_HELPER = "/usr/lib/apt/apt-helper"
_SOURCES = [Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d")]
_SETTINGS = """APT::Sandbox::User "root";
Acquire::Retries "1";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""
_ADVICE = (
    f"Another mirror can be named in {MIRROR_VARIABLE} (…/debian), Debian's snapshot archive in "
    f"{SNAPSHOT_VARIABLE} (…/archive). "
    "The bundle of a release (scripts/build-eif --bundle) has all its packages: unpack it and name "
    "the directory with --packages. A new lock is no cure: it makes another image."
)


def mirrors() -> list[str]:
    """Return the Debian mirror that the environment names, then the one that apt uses here."""
    files = [path for source in _SOURCES for path in ([source] if source.is_file() else [])]
    files += sorted(_SOURCES[1].glob("*")) if _SOURCES[1].is_dir() else []
    texts = (path.read_text(errors="replace") for path in files)
    found = (re.search(r"^[^#\n]*?(https?://\S+/debian)/?(?=\s|$)", t, re.MULTILINE) for t in texts)
    named = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    return list(dict.fromkeys([*([named] if named else []), *(m[1] for m in found if m)]))


def first_mirror() -> str:
    """Return the mirror to ask first, or raise PackageError."""
    found = mirrors()
    if not found:
        raise PackageError(f"apt uses no Debian mirror here: name one in {MIRROR_VARIABLE}")
    return found[0]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where packages are looked for, in this order."""

    directory: Path | None = None  # the files of a release's bundle
    mirrors: tuple[str, ...] = ()
    snapshot: str | None = None

    def addresses(self, package: Package, taken: str) -> list[str]:
        """Return all addresses of `package`, those of its own archive first.

        A security update is in the security archive's pool, and after the next point release in
        the main one's too, at the same place.
        """
        updates, place = re.fullmatch(r"pool/(updates/)?(.*)", package.path).groups()  # type: ignore[union-attr]
        pools = [("debian", f"pool/{place}"), ("debian-security", f"pool/updates/{place}")]
        own, other = pools[::-1] if updates else pools
        bases = [mirror.removesuffix("/debian") for mirror in self.mirrors]
        found = [f"{base}/{name}/{path}" for base in bases for name, path in (own, other)]
        if self.snapshot:
            found.append(f"{self.snapshot}/{own[0]}/{taken}/{own[1]}")
        return found


def default_sources(directory: Path | None = None) -> Sources:
    """Return what this machine and its environment name; `directory` is that of a bundle."""
    return Sources(directory, tuple(mirrors()), os.environ.get(SNAPSHOT_VARIABLE) or None)


class Pool:
    """The packages of locks, kept below `directory` once they have been fetched."""

    def __init__(self, directory: Path, sources: Sources) -> None:
        self._kept = directory.resolve() / "locked"
        self._sources = sources

    def fetch_all(self, lock: Lock) -> dict[str, Path]:
        """Return the files of all packages of `lock` by name, or raise PackageError."""
        return {package.name: self.fetch(package, lock.taken) for package in lock.packages}

    def fetch(self, package: Package, taken: str) -> Path:
        """Return the file of a pinned `package`, or raise PackageError."""
        target = self._kept / f"{package.name}_{package.sha256}.deb"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._bring(package, taken, target)
        if not is_pinned(target, package):
            target.unlink()
            raise PackageError(f"{package}: not the file that is pinned")
        return target

    def _bring(self, package: Package, taken: str, target: Path) -> None:
        draft = target.with_suffix(f".{os.getpid()}")
        try:
            if not self._copy(package, draft):
                self._download(self._sources.addresses(package, taken), package, draft)
            draft.replace(target)
        finally:
            for left in target.parent.glob(f"{draft.name}*"):
                left.unlink()

    def _copy(self, package: Package, draft: Path) -> bool:
        """Take `package` from the directory of a bundle; say whether it was there."""
        given = (self._sources.directory or Path("/nonexistent")) / package.file_name
        if not given.exists():
            return False
        if not is_pinned(given, package):
            raise PackageError(f"{given} is not the file that the lock pins for {package}")
        shutil.copyfile(given, draft)
        return True

    def _download(self, addresses: Sequence[str], package: Package, draft: Path) -> None:
        failures = []
        for address in addresses:
            reason = self._download_one(address, package, draft)
            if reason is None:
                return
            failures.append(f"  {address}: {reason}")
        raise PackageError("\n".join([f"{package} cannot be had:", *failures, _ADVICE]))

    def _download_one(self, address: str, package: Package, draft: Path) -> str | None:
        """Return why the pinned file did not come from `address`, or None if it did."""
        pins = [f"SHA256:{package.sha256}", f"Checksum-FileSize:{package.size}"]
        configuration = self._kept / "apt.conf"
        configuration.write_text(_SETTINGS)
        try:
            done = subprocess.run(
                [_HELPER, "download-file", address, str(draft), *pins],
                env={**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=FETCH_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise PackageError("apt is missing: images are built on Debian or Ubuntu") from None
        except subprocess.TimeoutExpired:
            return f"not there after {FETCH_SECONDS} s"
        return _reason(done.stderr) if done.returncode else None


def is_pinned(file: Path, package: Package) -> bool:
    """Say whether `file` has the size and the hash of `package`."""
    with file.open("rb") as content:
        same = hashlib.file_digest(content, "sha256").hexdigest() == package.sha256
    return same and file.stat().st_size == package.size


def _reason(said: str) -> str:
    """Return apt's reason, of which it says the first line with the address in front."""
    found = re.search(r"^E: Failed to fetch \S+\s+(.*?)(?: \[IP: .*\])?$", said, re.MULTILINE)
    reason = found[1] if found else (said.strip().splitlines() or ["no reason given"])[-1]
    different = "Hash Sum mismatch" in reason or "unexpected size" in reason
    return "another file than the one that is pinned" if different else reason
