"""A release's bundle: all packages of all locks, once each, in the same octets every time."""

import hashlib
import tarfile
from pathlib import Path
from typing import Any

from scripts.image import bundle
from scripts.image.locks import Lock, Package

TAKEN = "20260102T030405Z"


def package(name: str, content: bytes) -> Package:
    path = f"pool/main/{name[0]}/{name}/{name}_1_amd64.deb"
    return Package(name, "1", hashlib.sha256(content).hexdigest(), len(content), path)


class Pool:
    """Has every package as a file in `folder`, and notes for which time it was asked."""

    def __init__(self, folder: Path, contents: dict[str, bytes]) -> None:
        self.asked: list[tuple[str, str]] = []
        self._folder, self._contents = folder, contents

    def fetch(self, wanted: Package, taken: str) -> Path:
        self.asked.append((wanted.name, taken))
        path = self._folder / wanted.file_name
        path.write_bytes(self._contents[wanted.name])
        return path


def test_every_package_is_in_it_once(tmp_path: Path) -> None:
    contents = {"bb": b"two", "aa": b"one", "cc": b""} | {"cc": b"three"}
    packages = {name: package(name, content) for name, content in contents.items()}
    locks = [
        Lock(TAKEN, (packages["bb"], packages["aa"])),
        Lock("20270102T030405Z", (packages["cc"], packages["aa"])),
    ]
    pool: Any = Pool(tmp_path, contents)
    target = tmp_path / "bundle.tar"
    assert bundle.write(target, locks, pool) == 3
    with tarfile.open(target) as archive:
        members = archive.getmembers()
        read = {each.name: archive.extractfile(each).read() for each in members}  # type: ignore[union-attr]
    assert read == {f"{name}_1_amd64.deb": contents[name] for name in ("aa", "bb", "cc")}
    assert list(read) == sorted(read)
    assert {(each.mode, each.mtime, each.uid, each.uname) for each in members} == {
        (0o644, 0, 0, "")
    }
    assert dict(pool.asked)["cc"] == "20270102T030405Z"
    first = target.read_bytes()
    bundle.write(target, locks, pool)
    assert target.read_bytes() == first
    assert [path.name for path in tmp_path.glob("*.draft")] == []
