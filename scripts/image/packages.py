"""Debian packages for images and for the emulator: resolved by apt, pinned by hash, unpacked.

Nothing is installed on this machine: apt works in a directory of its own, with the mirrors
that this machine's own configuration names, and `dpkg-deb` unpacks what it fetched.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from scripts.image.locks import Package, PackageError
from scripts.image.pool import FETCH_SECONDS, first_mirror

RELEASE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


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
        wanted = ("Version", "SHA256", "Size", "Filename")
        fields = dict(re.findall(r"^(\w+): (\S+)$", shown, re.MULTILINE))
        if not set(wanted) <= set(fields):
            raise PackageError(f"the archive has no package {name}")
        version, sha256, size, path = (fields[key] for key in wanted)
        return Package(name, version, sha256, int(size), path)

    def _update(self) -> None:
        if self._updated:
            return
        if not KEYRING.exists():
            raise PackageError(f"{KEYRING} is missing: install debian-archive-keyring")
        for name in ("lists/partial", "archives/partial"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        (self._directory / "status").touch()
        base = first_mirror()
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
    reading = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    options = ["--keep-directory-symlink", "--no-same-owner", "--no-same-permissions"]
    writing = ["tar", "-x", *options, "-C", str(target)]
    with subprocess.Popen(reading, stdout=subprocess.PIPE) as archive:
        done = subprocess.run(writing, stdin=archive.stdout, check=False)
    if archive.returncode or done.returncode:
        raise PackageError(f"{deb.name} cannot be unpacked")
