"""What the local endpoint says of a request: one line, without a word of it."""

from __future__ import annotations

from datetime import UTC, datetime

from oblivious_client.local.messages import Handled
from oblivious_client.local.surfaces import find

_METHODS = ("GET", "HEAD", "POST", "OPTIONS")


def line(handled: Handled, *, now: float) -> str:
    """Return the line; `now` is in Unix seconds.

    A path that leads nowhere here is a program's own words, and so is an unknown method.
    """
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    method = handled.method if handled.method in _METHODS else "?"
    resource = find(handled.path) if handled.path else None
    place = "elsewhere" if resource is None else resource.name
    end = "whole" if handled.is_whole else "broken off"
    return (
        f"{moment} {method} {place} {handled.status} in {handled.received} out {handled.sent} "
        f"octets, {round(handled.seconds * 1000)} ms, {end}"
    )
