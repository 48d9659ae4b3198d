"""Pictures beside a question, as `data:` URLs: nothing is fetched, so nobody learns of them."""

from __future__ import annotations

import base64
from pathlib import Path

from oblivious_client.errors import UsageError

LARGEST_FILE = 14 << 20
"""In octets: 19 MiB in base64, and a gateway takes 20 MiB in all."""


def data_url(path: Path) -> str:
    """Return a file as a `data:` URL; raises UsageError for what is no picture that models read."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise UsageError(
            f"{path} is larger than {LARGEST_FILE >> 20} MiB", advice="make it smaller"
        )
    kind = _kind(data)
    if kind is None:
        raise UsageError(f"{path} is no picture in PNG, JPEG, WebP or GIF")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _kind(data: bytes) -> str | None:
    """Return the subtype that the first octets tell, whatever the file is called."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return None
