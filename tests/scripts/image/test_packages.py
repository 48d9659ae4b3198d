"""Debian's archive seen through an apt of our own, played by stand-ins, and packages unpacked."""

import os
import subprocess
from pathlib import Path

import pytest

from scripts.image import packages
from scripts.image.locks import PackageError
from scripts.image.packages import Archive, unpack

SHOWN = """Package: busybox-static
Version: 1:1.37.0-6
Filename: pool/main/b/busybox/busybox-static_1.37.0-6_amd64.deb
Size: 900000
SHA256: {sha256}
Description: shell
"""
SHA256 = "ab" * 32


class Programs:
    """Stand-ins for apt-get and apt-cache, which note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.play("apt-get", 'echo "$*" >>"$0.calls"')
        self.play("apt-cache", f"cat <<'END'\n{SHOWN.format(sha256=SHA256)}\nEND")

    def play(self, name: str, script: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.folder / name).chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "apt-get.calls").read_text().splitlines()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(packages, "KEYRING", folder)
    return Programs(folder)


def test_the_newest_version_is_named_with_all_that_a_lock_holds(
    programs: Programs, tmp_path: Path
) -> None:
    archive = Archive(tmp_path / "apt")
    for _ in range(2):
        (found,) = archive.candidates(["busybox-static"])
    assert found.line() == (
        f"busybox-static 1:1.37.0-6 {SHA256} 900000 "
        "pool/main/b/busybox/busybox-static_1.37.0-6_amd64.deb"
    )
    assert programs.calls == ["update"]  # once
    sources = (tmp_path / "apt" / "sources.list").read_text().splitlines()
    assert [line.split()[-2] for line in sources] == [
        "trixie",
        "trixie-backports",
        "trixie-security",
    ]
    assert all(f"[signed-by={packages.KEYRING}]" in line for line in sources)
    configuration = (tmp_path / "apt" / "apt.conf").read_text()
    assert f'Dir::State "{(tmp_path / "apt").resolve()}";' in configuration
    assert 'Dir::Etc::Parts "/dev/null";' in configuration


def test_what_the_archive_lacks_is_named(programs: Programs, tmp_path: Path) -> None:
    programs.play("apt-cache", "echo 'Version: 1'")
    with pytest.raises(PackageError, match="the archive has no package busybox"):
        Archive(tmp_path / "apt").candidates(["busybox"])


def test_a_failure_of_apt_is_told_with_its_words(programs: Programs, tmp_path: Path) -> None:
    programs.play("apt-get", "echo 'E: no network' >&2; exit 100")
    with pytest.raises(PackageError, match="apt-get update failed:\nE: no network"):
        Archive(tmp_path / "apt").candidates(["busybox"])


def test_without_a_keyring_or_apt_nothing_is_trusted(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match="apt is missing"):
        Archive(tmp_path / "apt").candidates(["busybox"])
    monkeypatch.setattr(packages, "KEYRING", tmp_path / "absent")
    with pytest.raises(PackageError, match="install debian-archive-keyring"):
        Archive(tmp_path / "other").candidates(["busybox"])


def made(folder: Path, name: str, files: dict[str, str]) -> Path:
    """Make a package of these files; return it."""
    tree = folder / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.example>\n"
        "Description: a\n"
    )
    (tree / "DEBIAN" / "postinst").write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    (tree / "DEBIAN" / "postinst").chmod(0o755)
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(content)
    deb = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", tree, deb], check=True, capture_output=True)
    return deb


def test_a_package_is_unpacked_into_a_merged_usr(tmp_path: Path) -> None:
    target = tmp_path / "root"
    unpack(made(tmp_path, "one", {"bin/tool": "1", "usr/lib/a": "a"}), target)
    unpack(made(tmp_path, "two", {"lib/b": "b"}), target)
    assert (target / "bin").readlink() == Path("usr/bin")
    assert (target / "usr" / "bin" / "tool").read_text() == "1"
    assert [path.name for path in sorted((target / "usr" / "lib").iterdir())] == ["a", "b"]
    assert not (tmp_path / "ran").exists()


def test_what_is_no_package_is_told(tmp_path: Path) -> None:
    deb = tmp_path / "no.deb"
    deb.write_bytes(b"no package")
    with pytest.raises(PackageError, match=r"no\.deb cannot be unpacked"):
        unpack(deb, tmp_path / "root")


def test_a_closure_is_unpacked_once_and_whole(programs: Programs, tmp_path: Path) -> None:
    deb = made(tmp_path, "one", {"usr/lib/a": "a"})
    archive, target = Archive(tmp_path / "apt"), tmp_path / "tools"
    cache = tmp_path / "apt" / "archives"
    programs.play("apt-get", f'echo "$*" >>"$0.calls"; [ $1 = update ] || cp {deb} {cache}')
    for _ in range(2):
        assert archive.unpack_closure(["one"], target) == target
    assert (target / "usr/lib/a").read_text() == "a"
    assert list(cache.glob("*.deb")) == []
    assert programs.calls == ["update", "install --yes --no-install-recommends --download-only one"]
    assert not target.with_name("tools.unfinished").exists()
