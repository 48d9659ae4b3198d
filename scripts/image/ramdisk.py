"""Reproducible cpio archives (format newc) that Linux unpacks as its root file system.

Equal trees make equal bytes: names are sorted, owners and times are zero, and nothing is
compressed, because compressors differ between machines.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ALIGNMENT = 512
_MAGIC = b"070701"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or symbolic link: `st_mode` and content."""

    mode: int
    content: bytes = b""


class Tree:
    """The entries of an archive by name, parents included."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def directory(self, name: str, permissions: int = 0o755) -> None:
        self._put(name, Entry(stat.S_IFDIR | permissions))

    def file(self, name: str, content: bytes, permissions: int = 0o644) -> None:
        self._put(name, Entry(stat.S_IFREG | permissions, content))

    def link(self, name: str, target: str) -> None:
        self._put(name, Entry(stat.S_IFLNK | 0o777, target.encode()))

    def copy(self, root: Path, prefix: str) -> None:
        """Take everything below `root`; of its permissions only the executable bit counts."""
        for path in sorted(root.rglob("*")):
            name = f"{prefix}/{path.relative_to(root)}"
            if path.is_symlink():
                self.link(name, str(path.readlink()))
            elif path.is_dir():
                self.directory(name)
            elif path.is_file():
                self.file(name, path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)

    def encode(self) -> bytes:
        """Return the archive, padded so that another may follow it."""
        names = sorted(self._entries)
        records = [_record(i, name, self._entries[name]) for i, name in enumerate(names, 1)]
        return _pad(b"".join([*records, _record(0, "TRAILER!!!", Entry(0))]), _ALIGNMENT)

    def _put(self, name: str, entry: Entry) -> None:
        name = name.strip("/")
        for parent in list(PurePosixPath(name).parents)[:-1]:
            self._entries.setdefault(str(parent), Entry(stat.S_IFDIR | 0o755))
        self._entries[name] = entry


def _record(inode: int, name: str, entry: Entry) -> bytes:
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    encoded = name.encode() + b"\0"
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, 0, 0, len(encoded), 0)
    header = _MAGIC + b"".join(b"%08X" % number for number in numbers)
    return _pad(header + encoded, 4) + _pad(entry.content, 4)


def _pad(data: bytes, boundary: int) -> bytes:
    return data + bytes(-len(data) % boundary)
