"""Locks of Debian packages: what is pinned, how large it is, and where Debian's pools keep it.

An index forgets a version as soon as a newer one comes; a pool keeps the file longer, and the
snapshot archive keeps it for good. So a lock names each file by its path in the pool, and the
time at which the archive certainly held all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+:~-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"[1-9][0-9]{0,9}")
_PATH = re.compile(r"pool/(updates/)?main/([a-z0-9][a-z0-9+.-]*/){2}[A-Za-z0-9][\w.+~-]*\.deb")
_TAKEN = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_DIRECTIVE = "archive-of"


class PackageError(Exception):
    """A package cannot be had; the text says which one and what to do."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One pinned package: name, version, SHA-256 and octets of its file, path in the pool."""

    name: str
    version: str
    sha256: str
    size: int
    path: str

    def __post_init__(self) -> None:
        forms = (_NAME, _VERSION, _SHA256, _SIZE, _PATH)
        for form, value in zip(forms, self.line().split(" "), strict=True):
            if not form.fullmatch(value):
                raise ValueError(f"{value!r} is not what a lock says of a package")

    def line(self) -> str:
        return f"{self.name} {self.version} {self.sha256} {self.size} {self.path}"

    @property
    def file_name(self) -> str:
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Lock:
    """Packages that are used together, and a time when Debian's archive held them all."""

    taken: str  # YYYYMMDDTHHMMSSZ, as the snapshot archive writes it
    packages: tuple[Package, ...]

    def only(self, names: Iterable[str]) -> list[Package]:
        """Return the packages of these names, or raise PackageError."""
        known = {package.name: package for package in self.packages}
        wanted = list(names)
        if missing := [name for name in wanted if name not in known]:
            raise PackageError(f"the lock lacks {', '.join(missing)}")
        return [known[name] for name in wanted]


def read_lock(path: Path) -> Lock:
    """Return the lock in the file `path`, or raise PackageError."""
    packages, taken = [], ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] == _DIRECTIVE and not taken:
                taken = _time(words[1:])
            else:
                packages.append(_package(words))
        except ValueError as error:
            raise PackageError(f"{path.name}, line {number}: {error}") from error
    if not taken:
        raise PackageError(f"{path.name} does not say {_DIRECTIVE}")
    if len({package.name for package in packages}) != len(packages):
        raise PackageError(f"{path.name} names a package twice")
    return Lock(taken, tuple(packages))


def write_lock(path: Path, lock: Lock) -> None:
    """Write `lock`; the comments of the file that was there stay."""
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    lines = [*head, f"{_DIRECTIVE} {lock.taken}", *(p.line() for p in sorted(lock.packages))]
    path.write_text("\n".join(lines) + "\n")


def _time(words: list[str]) -> str:
    if len(words) != 1 or not _TAKEN.fullmatch(words[0]):
        raise ValueError(f"{_DIRECTIVE} wants one time, as 20260102T030405Z")
    return words[0]


def _package(words: list[str]) -> Package:
    if len(words) != 5:
        raise ValueError("not a name, a version, a SHA-256, a size and a path")
    name, version, sha256, size, path = words
    if not _SIZE.fullmatch(size):
        raise ValueError(f"{size!r} is no size")
    return Package(name, version, sha256, int(size), path)
