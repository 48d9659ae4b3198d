"""Where trust comes from: a file of the user's, or the one that came with this client."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from oblivious_client.errors import UsageError
from oblivious_client.releases.trust import Trust
from protocol.errors import ProtocolError

PACKAGED = "trust.json"
"""Beside the client's modules, so in the hash of its wheel; a build without it names nobody."""

NOBODY = "this build of the client names no builders of releases"


def read_trust(path: Path) -> Trust:
    """Return what a file says of whom to trust; raises UsageError."""
    try:
        return _decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", advice="name a trust.json of a release"
        ) from error


def packaged_trust() -> Trust | None:
    """Return what this build of the client says of whom to trust, None if it names nobody."""
    file = resources.files("oblivious_client").joinpath(PACKAGED)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    return _decoded(content, PACKAGED)


def _decoded(content: bytes, name: str) -> Trust:
    try:
        return Trust.decode_file(content)
    except ProtocolError as error:
        raise UsageError(
            f"{name} does not say whom to trust: {error}", advice="get it anew, as a whole"
        ) from error
