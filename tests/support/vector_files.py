"""Reads the published vectors in tests/vectors; see the README there for where they come from."""

import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    """Return the parsed file `name`."""
    return json.loads((DIRECTORY / name).read_text(encoding="utf-8"))


def load_bytes(name: str, entry: str) -> dict[str, bytes]:
    """Return the object `entry` of file `name`, whose values are all hexadecimal strings."""
    return {key: bytes.fromhex(value) for key, value in load(name)[entry].items()}
