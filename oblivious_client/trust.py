"""The authorities that vouch for a relay's name in TLS; the enclave's proof needs none of them."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import httpx

from oblivious_client.errors import UsageError

FILE, FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"

_ADVICE = {
    FILE: "name a PEM file of certificates, or unset it to trust those of the package certifi",
    FOLDER: "name a folder of certificates, or unset it to trust those of the package certifi",
}


def named() -> str | None:
    """Return the variable that names authorities, if one is set; a file goes before a folder."""
    return next((name for name in (FILE, FOLDER) if os.environ.get(name)), None)


def context() -> ssl.SSLContext:
    """Return what TLS is spoken with; raises UsageError that names a file which is no good."""
    variable = named()
    if variable is not None:
        _check(variable, Path(os.environ[variable]))
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:  # the latter is one of the former
        if variable is None:
            raise
        raise _wrong(variable, "holds no certificate that can be read") from error


def _check(variable: str, path: Path) -> None:
    try:
        if variable == FILE:
            with path.open("rb"):
                return
        next(path.iterdir(), None)
    except OSError as error:
        raise _wrong(variable, f"cannot be read: {error.strerror}") from error


def _wrong(variable: str, what: str) -> UsageError:
    return UsageError(
        f"{variable} names {os.environ[variable]}, which {what}", advice=_ADVICE[variable]
    )
