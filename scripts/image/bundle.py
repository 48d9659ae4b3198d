"""A release's bundle: every pinned package in one tar file, so that no archive is needed later."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path

from scripts.image.locks import Lock, Package
from scripts.image.pool import Pool


def write(target: Path, locks: Iterable[Lock], pool: Pool) -> int:
    """Write the packages of all `locks` to `target`, equal for equal locks; return how many."""
    chosen: dict[str, tuple[Package, str]] = {}
    for lock in locks:
        chosen |= {package.file_name: (package, lock.taken) for package in lock.packages}
    draft = target.with_name(f"{target.name}.draft")
    with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (package, taken) in sorted(chosen.items()):
            _add(archive, name, pool.fetch(package, taken))
    draft.replace(target)
    return len(chosen)


def _add(archive: tarfile.TarFile, name: str, file: Path) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = file.stat().st_size, 0o644
    with file.open("rb") as content:
        archive.addfile(entry, content)
