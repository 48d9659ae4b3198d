"""One JSON line for each event on standard error; never anything that was carried."""

import contextlib
import json
import select
import sys
import time
from typing import TextIO


def log(event: str, **fields: object) -> None:
    """Write an event with its figures."""
    line = {"time": round(time.time(), 3), "event": event, **fields}
    with contextlib.suppress(OSError):  # nobody reads the log any more: go on carrying
        if _has_room(sys.stderr):
            sys.stderr.write(json.dumps(line, separators=(",", ":")) + "\n")
            sys.stderr.flush()


def _has_room(stream: TextIO) -> bool:
    """Whether a line can be written without waiting; a pipe that says so has room for 4 KiB."""
    try:
        descriptor = stream.fileno()
    except OSError:  # io.UnsupportedOperation: it is in memory
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))
