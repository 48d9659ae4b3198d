"""The end of a stream of events, kept back until the end of the answer has verified."""

from __future__ import annotations

import re

# What a stream ends with, be it complete or failed.
_ENDING = re.compile(rb'[\r\n]data: ?(?:\[DONE\]|\{"error":)')
_ENDING_REACH = len(b'\ndata: {"error":')


class EndKeeper:
    """Keeps the last event of a stream back until the end of the answer has verified.

    Programs take the sentinel, or an error, for the end and hang up: too early, they would show
    everybody on the way where the answer ends and its padding begins, and miss that it was cut.
    """

    def __init__(self) -> None:
        self._seen = b"\n"
        self._kept = b""

    def pass_on(self, content: bytes) -> bytes:
        """Return what may be read now."""
        if not self._kept:
            seen = self._seen + content
            # No chunk begins so; whatever a model says stands inside of one.
            if _ENDING.search(seen) is None:
                self._seen = seen[-_ENDING_REACH:]
                return content
        self._kept += content
        return b""

    def release(self) -> bytes:
        """Return what was kept."""
        kept, self._kept = self._kept, b""
        return kept
