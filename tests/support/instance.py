"""An instance of EC2 that is played: a root of its own, and stand-ins for the system's commands."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.support import nitro_cli
from tests.support.enclave_image import write_image

DEPLOY = Path(__file__).parents[2] / "scripts" / "deploy"
BASE = "opt/oblivious-inference"
RELEASE = 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nVERSION_ID="2023"\n'
ALLOCATOR = "---\n# Enclave configuration file.\nmemory_mib: 512\n# How many CPUs.\ncpu_count: 2\n"

# Stand-ins: each notes how it was called and keeps what it was told in files below $STATE.
STAND_INS = {
    "id": 'echo "${STAND_IN_USER:-0}"',
    "rpm": 'for name; do :; done; [ -e "$STATE/installed-$name" ]',
    "dnf": """
echo "dnf $*" >>"$STATE/calls"
for name; do touch "$STATE/installed-$name"; done
mkdir -p "$DESTDIR/etc/nitro_enclaves"
cp "$STATE/allocator.yaml" "$DESTDIR/etc/nitro_enclaves/allocator.yaml"
""",
    "systemctl": """
for unit; do :; done
case $1 in
is-enabled) [ -e "$STATE/enabled-$unit" ] && exit || exit 1 ;;
is-active) [ -e "$STATE/active-$unit" ] && exit || exit 3 ;;
*) echo "systemctl $*" >>"$STATE/calls" ;;
esac
case $1 in
enable) touch "$STATE/enabled-$unit" ;;
start | restart) touch "$STATE/active-$unit" ;;
esac
""",
}


class Host:
    """A directory that plays the root of an instance, and the stand-ins' memory."""

    def __init__(self, directory: Path) -> None:
        self.root, self.state, self.bin = (directory / name for name in ("root", "state", "bin"))
        for path in (self.root / "etc", self.root / "dev", self.state, self.bin):
            path.mkdir(parents=True)
        (self.root / "etc/os-release").write_text(RELEASE)
        (self.root / "dev/nitro_enclaves").touch()
        (self.state / "allocator.yaml").write_text(ALLOCATOR)
        self.reserve_pages(2048)
        for name, script in STAND_INS.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{script}")
            (self.bin / name).chmod(0o755)
        (self.bin / "nitro-cli").symlink_to(Path(nitro_cli.__file__))
        # That of PATH may be a program that looks for one: twice as long for each start.
        (self.bin / "python3").symlink_to(Path(sys.executable).resolve())
        self.image = directory / "some.eif"
        write_image(self.image)

    def copied(self, directory: Path) -> Self:
        """Return another instance, below `directory`, which is as this one is now."""
        shutil.copytree(self.root.parent, directory, symlinks=True, dirs_exist_ok=True)
        other = copy.copy(self)
        other.root, other.state, other.bin = (directory / name for name in ("root", "state", "bin"))
        other.image = directory / self.image.name
        return other

    def reserve_pages(self, count: int) -> None:
        """Be a host whose allocator has reserved `count` huge pages of 2 MiB."""
        pages = self.root / "sys/kernel/mm/hugepages/hugepages-2048kB"
        pages.mkdir(parents=True, exist_ok=True)
        (pages / "nr_hugepages").write_text(f"{count}\n")

    def pin(self, *releases: dict[str, str]) -> str:
        """Write a file of measurements, of one release or of several; return its name."""
        listed = [{"Measurements": each} for each in releases]
        path = self.image.with_name("pcrs.json")
        path.write_text(json.dumps(listed[0] if len(listed) == 1 else listed))
        return str(path)

    def run(self, *options: str, code: int = 0, **environment: str) -> str:
        """Run install-host; return what it said."""
        done = subprocess.run(
            [DEPLOY / "install-host", *options],
            env={
                **os.environ,
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "DESTDIR": str(self.root),
                "STATE": str(self.state),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def install(self, *options: str) -> str:
        return self.run("--image", str(self.image), *options)

    def calls(self) -> list[str]:
        """Return what the stand-ins were told since the last time."""
        path = self.state / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return lines

    def files(self) -> dict[str, tuple[bytes, int, int]]:
        """Return content, mode and time of every file below the root."""
        return {
            str(path.relative_to(self.root)): (
                path.read_bytes(),
                path.stat().st_mode & 0o777,
                path.stat().st_mtime_ns,
            )
            for path in self.root.rglob("*")
            if path.is_file()
        }
