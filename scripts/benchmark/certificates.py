"""Certificates for stand-ins that are asked over TLS, made anew for each run."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

NAME = "upstream.example"


@dataclass(frozen=True, slots=True)
class Certified:
    """Files: the authority that a client trusts, and a server's key and chain for NAME."""

    authority: Path
    server: Path


def certify(folder: Path) -> Certified:
    """Write both files into `folder`."""
    files = Certified(folder / "authority.pem", folder / "server.pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(files.authority))
    issued = authority.issue_cert(NAME).private_key_and_cert_chain_pem
    issued.write_to_path(str(files.server))
    return files


def server_context(arguments: list[str]) -> ssl.SSLContext | None:
    """Return the context of a stand-in whose last argument names the server's file, if any does."""
    if not arguments:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments[0])
    return context
