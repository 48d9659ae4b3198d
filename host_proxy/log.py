"""One JSON line for each event on standard error; never anything that was carried."""

import contextlib
import json
import sys
import time


def log(event: str, **fields: object) -> None:
    """Write an event with its figures."""
    line = {"time": round(time.time(), 3), "event": event, **fields}
    with contextlib.suppress(OSError):  # nobody reads the log any more: go on carrying
        sys.stderr.write(json.dumps(line, separators=(",", ":")) + "\n")
        sys.stderr.flush()
