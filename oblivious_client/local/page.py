"""The page that the local endpoint shows in a browser."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from oblivious_client.local.messages import LocalResponse


def page() -> LocalResponse:
    """Return the page; nothing but its own script and style can run in it."""
    html = resources.files("oblivious_client").joinpath("page.html").read_bytes()
    script, style = (_inline_hash(html, tag) for tag in (b"script", b"style"))
    policy = (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    fields = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )
    return LocalResponse(200, fields, html)


def _inline_hash(html: bytes, tag: bytes) -> str:
    content = html.partition(b"<" + tag + b">")[2].partition(b"</" + tag + b">")[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode()
