"""SIGINT and SIGTERM, on every system that has them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

_ENDING = (signal.SIGINT, signal.SIGTERM)


def when_told_to_end(tell: Callable[[], None]) -> None:
    """Call `tell` in the running loop at SIGINT or SIGTERM; those that follow wait, to the end.

    asyncio's own handlers write to a pipe that is closed before they are taken away, Python reports
    a signal that was on its way when it was told to ignore it, and Windows has no such handlers.
    """
    loop = asyncio.get_running_loop()

    def handle(*_: object) -> None:
        _hold_back()
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(tell)

    for number in _ENDING:
        signal.signal(number, handle)


def _hold_back() -> None:
    """Have further signals wait; where that cannot be had they are ignored."""
    mask = getattr(signal, "pthread_sigmask", None)
    if mask is not None:
        mask(signal.SIG_BLOCK, _ENDING)  # type: ignore[attr-defined,unused-ignore]
        return
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
