"""Descriptors, of which each program that is served takes two: its own, and one to the relay.

Without any left, asyncio reports every attempt to accept, hundreds at a time and each with a trace.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

SPARE = 32
"""For what the program itself has open."""

PAUSE_SECONDS = 1.0
"""Between two lines that say the same."""

_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def affordable(most: int, refused: int) -> tuple[int, int]:
    """Return how many connections can be served and refused: so many, or as there are descriptors.

    The soft limit is raised where it is too low. Of those that are refused, as many again may be
    accepted before they are counted.
    """
    resource = _optional("resource")
    if resource is None:  # sockets are not counted among descriptors there
        return most, refused
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * most + 2 * refused + SPARE
    have = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < have:
        resource.setrlimit(resource.RLIMIT_NOFILE, (have, hard))
    if have == wanted:
        return most, refused
    refused = max(1, min(refused, have // 8))
    return max(1, (have - 2 * refused - SPARE) // 2), refused


def _optional(name: str) -> Any:
    """Return a module that not every system has, or None."""
    try:
        return import_module(name)
    except ImportError:
        return None


class Scarcity:
    """Takes what asyncio reports; want of descriptors is told once a second, and nothing of it."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._quiet_until = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of `context`, unless the same was told within the last second."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _SCARCE:
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + PAUSE_SECONDS
            self._tell(f"programs have to wait: {error.strerror}")
