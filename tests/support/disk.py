"""What of a program's writing is on the disk, should the power fail, and since when."""

import os
import stat

import pytest

FOLDER = "folder"


def synced(monkeypatch: pytest.MonkeyPatch) -> list[int | str]:
    """Return a list that gets, at each `os.fsync`, the size that the file has there, or FOLDER."""
    found: list[int | str] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        status = os.fstat(descriptor)
        found.append(FOLDER if stat.S_ISDIR(status.st_mode) else status.st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    return found
