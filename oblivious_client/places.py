"""Folders of a user, where each system has its own custom: cache, configuration, data, state.

The variables of the XDG Base Directory Specification name them on every system, if they are set.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "oblivious-inference"


def cache() -> Path:
    """Return the folder for what can be fetched again."""
    return _place("XDG_CACHE_HOME", "LOCALAPPDATA", "Library/Caches", ".cache")


def configuration() -> Path:
    """Return the folder for what the user decides."""
    return _place("XDG_CONFIG_HOME", "APPDATA", "Library/Application Support", ".config")


def data() -> Path:
    """Return the folder for what would be lost, such as tokens."""
    return _place("XDG_DATA_HOME", "LOCALAPPDATA", "Library/Application Support", ".local/share")


def state() -> Path:
    """Return the folder for what is true while something runs; it may outlive that."""
    variable = "XDG_RUNTIME_DIR" if os.environ.get("XDG_RUNTIME_DIR") else "XDG_STATE_HOME"
    return _place(variable, "LOCALAPPDATA", "Library/Application Support", ".local/state")


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter, unless it is there; raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _place(variable: str, windows: str, mac: str, other: str) -> Path:
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named / NAME
    return _custom(windows, mac, other) / NAME


def _custom(windows: str, mac: str, other: str) -> Path:
    system: str = sys.platform
    if system == "win32":
        return Path(os.environ.get(windows) or Path.home() / "AppData" / "Local")
    return Path.home() / (mac if system == "darwin" else other)
