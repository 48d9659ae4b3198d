"""A statement of an image: what it measures is measured here, and nowhere else taken from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oblivious_client.releases.statements import Release
from protocol.attestation import parse_pcrs
from scripts.image import eif


class PublishingError(Exception):
    """Something cannot be published; the text says what and why."""


def measured(image: Path, printed: Path | None) -> dict[int, bytes]:
    """Return the measurements of an image, which have to be those that its build printed."""
    found = parse_pcrs(eif.measure(eif.decode(image.read_bytes())))
    if printed is not None and parse_pcrs(_json(printed)) != found:
        raise PublishingError(f"{image} does not measure what {printed} says")
    return found


def state(image: Path, printed: Path | None, members: Mapping[str, Any]) -> Release:
    """Return the statement of an image; `members` are those that no file tells."""
    files = {name: _sha256(members[name]) for name in ("config", "sbom")}
    try:
        return Release(**{**members, **files}, pcrs=measured(image, printed), image=_sha256(image))
    except ValueError as error:
        raise PublishingError(str(error)) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise PublishingError(f"{path} is not JSON") from error
    if not isinstance(found, dict):
        raise PublishingError(f"{path} is no object")
    return found
