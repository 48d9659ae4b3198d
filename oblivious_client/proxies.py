"""Addresses of HTTP proxies."""

from __future__ import annotations

from urllib.parse import urlsplit


def proxy_address(text: str) -> str:
    """Return `http(s)://[NAME:WORD@]HOST[:PORT]` as it is; raises ValueError for anything else."""
    url = urlsplit(text)
    # A port that is none raises ValueError, as everything else that is wrong does here.
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
        raise ValueError("not the address of a proxy")
    return text
