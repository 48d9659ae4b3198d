"""Debian packages for images and for the emulator: resolved by apt, pinned by hash, unpacked.

Nothing is installed on this machine: apt works in a directory of its own, with the mirrors
that this machine's own configuration names, and `dpkg-deb` unpacks what it fetched.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RELEASE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FETCH_SECONDS = 600
_SOURCES = [Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d")]


class PackageError(Exception):
    """A package cannot be had; the text says which one and what to do."""


class PackageGone(PackageError):
    """The mirror no longer serves a pinned version."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One pinned package: Debian name, version, and SHA-256 of the `.deb` file."""

    name: str
    version: str
    sha256: str

    def line(self) -> str:
        return f"{self.name} {self.version} {self.sha256}"


def read_lock(path: Path) -> list[Package]:
    lines = [line.split() for line in path.read_text().splitlines() if line and line[0] != "#"]
    return [Package(*fields) for fields in lines]


def write_lock(path: Path, packages: Iterable[Package]) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    path.write_text("\n".join([*head, *(package.line() for package in sorted(packages))]) + "\n")


def mirror() -> str:
    """Return the Debian mirror that this machine's apt uses, or raise PackageError."""
    files = [path for source in _SOURCES for path in ([source] if source.is_file() else [])]
    files += sorted(_SOURCES[1].glob("*")) if _SOURCES[1].is_dir() else []
    for path in files:
        found = re.search(r"(https?://\S+/debian)/?(?=\s|$)", path.read_text(), re.MULTILINE)
        if found:
            return found[1]
    raise PackageError("apt's configuration names no mirror of Debian: images are built on Debian")


class Archive:
    """One release of Debian's archive, seen through an apt of our own below `directory`."""

    def __init__(self, directory: Path, release: str = RELEASE) -> None:
        self._release = release
        self._directory = directory.resolve()
        self._cache = self._directory / "archives"
        self._updated = False

    def candidates(self, names: Iterable[str]) -> list[Package]:
        """Return the newest version of each of `names`, as the archive serves it now."""
        self._update()
        return [self._candidate(name) for name in names]

    def versioned_name(self, meta: str) -> str:
        """Return the one package that the newest version of `meta` depends on."""
        self._update()
        shown = self._apt("apt-cache", "show", "--no-all-versions", meta)
        found = re.search(r"^Depends: ([^ ,]+)", shown, re.MULTILINE)
        if not found:
            raise PackageError(f"the archive has no package {meta}")
        return found[1]

    def fetch(self, package: Package) -> Path:
        """Return the file of a pinned `package`, or raise PackageError."""
        target = self._directory / "locked" / f"{package.name}_{package.sha256}.deb"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._download(package, target)
        if hashlib.sha256(target.read_bytes()).hexdigest() != package.sha256:
            target.unlink()
            raise PackageError(f"{package.name} {package.version}: not the file that is pinned")
        return target

    def unpack_closure(self, names: Iterable[str], target: Path) -> Path:
        """Unpack `names` and all that they depend on below `target`, once."""
        if target.exists():
            return target
        self._update()
        options = ["--yes", "--no-install-recommends", "--download-only"]
        self._apt("apt-get", "install", *options, *names)
        unfinished = target.with_name(target.name + ".unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._cache.glob("*.deb")):
            unpack(path, unfinished)
            path.unlink()
        unfinished.rename(target)
        return target

    def _candidate(self, name: str) -> Package:
        shown = self._apt("apt-cache", "show", "--no-all-versions", name)
        fields = dict(re.findall(r"^(Version|SHA256): (\S+)$", shown, re.MULTILINE))
        if len(fields) != 2:
            raise PackageError(f"the archive has no package {name}")
        return Package(name, fields["Version"], fields["SHA256"])

    def _download(self, package: Package, target: Path) -> None:
        self._update()
        scratch = target.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        try:
            self._apt("apt-get", "download", f"{package.name}={package.version}", directory=scratch)
        except PackageError as error:
            raise PackageGone(
                f"{package.name} {package.version} is no longer served by the mirror: run "
                "scripts/build-eif --update-lock, and publish the new measurements"
            ) from error
        next(scratch.glob(f"{package.name}_*.deb")).rename(target)

    def _update(self) -> None:
        if self._updated:
            return
        if not KEYRING.exists():
            raise PackageError(f"{KEYRING} is missing: install debian-archive-keyring")
        for name in ("lists/partial", "archives/partial"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        (self._directory / "status").touch()
        base = mirror()
        suites = {self._release: base, f"{self._release}-backports": base}
        suites[f"{self._release}-security"] = f"{base}-security"
        lines = [f"deb [signed-by={KEYRING}] {url} {suite} main" for suite, url in suites.items()]
        (self._directory / "sources.list").write_text("\n".join(lines) + "\n")
        (self._directory / "apt.conf").write_text(self._configuration())
        self._apt("apt-get", "update")
        self._updated = True

    def _configuration(self) -> str:
        here = self._directory
        settings = {
            "Dir::State": here,
            "Dir::State::Lists": here / "lists",
            "Dir::State::status": here / "status",
            "Dir::Cache": here,
            "Dir::Cache::archives": self._cache,
            "Dir::Etc::SourceList": here / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Parts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        return "".join(f'{name} "{value}";\n' for name, value in settings.items())

    def _apt(self, *command: str, directory: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._directory / "apt.conf")}
        try:
            done = subprocess.run(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=FETCH_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise PackageError("apt is missing: images are built on Debian or Ubuntu") from None
        except subprocess.TimeoutExpired:
            raise PackageError(f"{command[0]} {command[1]} did not end in time") from None
        if done.returncode:
            raise PackageError(f"{command[0]} {command[1]} failed:\n{done.stderr.strip()[-2000:]}")
        return done.stdout


def unpack(deb: Path, target: Path) -> None:
    """Unpack the files of one package below `target`; none of its scripts runs."""
    for merged in ("bin", "sbin", "lib", "lib64"):  # Debian's merged /usr: one place a file
        link = target / merged
        if not link.is_symlink():
            (target / "usr" / merged).mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"usr/{merged}")
    archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    options = ["--keep-directory-symlink", "--no-same-owner", "--no-same-permissions"]
    done = subprocess.run(
        ["tar", "-x", *options, "-C", str(target)], stdin=archive.stdout, check=False
    )
    if archive.wait() or done.returncode:
        raise PackageError(f"{deb.name} cannot be unpacked")
