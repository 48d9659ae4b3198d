"""One JSON line for each event on standard error: account numbers, counts, outcomes.

Never a secret, an address of a buyer, or what was signed: with the time of a purchase and of a
redemption that is all that an issuer could compare, and it keeps no more than the ledger does.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import TextIO


class Log:
    """Writes events to a stream."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Without a stream, standard error takes them."""
        self._stream = stream
        self._clock = clock

    def event(self, name: str, **fields: str | int | None) -> None:
        """Write one line; fields without a value are left out."""
        said = {key: value for key, value in fields.items() if value is not None}
        line = json.dumps({"time": round(self._clock(), 3), "event": name, **said})
        stream = self._stream or sys.stderr
        # A reader of the log that went away is no reason to stop selling.
        with contextlib.suppress(OSError):
            stream.write(line + "\n")
            stream.flush()
