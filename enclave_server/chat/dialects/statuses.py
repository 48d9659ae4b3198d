"""What the status of an upstream's answer means, in whatever dialect.

| upstream | answer |
| --- | --- |
| 400, 413, 422 | 400: `context_length_exceeded` if it says so, or the parameter it blames |
| 404 | 404 `model_not_served`: the name there is the operator's, the choice of another the user's |
| 424: the model failed | 502 |
| 429 | 429 with its Retry-After; 503 if the operator's quota is used up |
| 451 | 400 `content_filter` |
| 498, 503, 529 | 503 with its Retry-After |
| other 4xx: key, account | 503 |
| 408, 504 | 504 |
| anything else | 502 |
"""

import math
import re

from enclave_server.chat.errors import Failure
from protocol.binary_http import Fields

MAX_RETRY_SECONDS = 86400

_DURATION = re.compile(r"([0-9]{1,8}(?:\.[0-9]{1,9}|e-3)?)s?", re.ASCII)

_BY_STATUS = {
    400: Failure.REJECTED,
    404: Failure.NOT_SERVED,
    408: Failure.SLOW,
    413: Failure.TOO_LONG,
    422: Failure.REJECTED,
    424: Failure.BROKEN,
    429: Failure.LIMITED,
    451: Failure.FILTERED,
    498: Failure.BUSY,
    503: Failure.BUSY,
    504: Failure.SLOW,
    529: Failure.BUSY,
}


def failure_of(status: int) -> Failure:
    """Return what `status` means if the body says no more."""
    return _BY_STATUS.get(status, Failure.REFUSED if 400 <= status < 500 else Failure.BROKEN)


def retry_after(fields: Fields) -> int | None:
    """Return the seconds of a Retry-After field, or None if it is a date, absurd or garbage."""
    said = dict(fields)
    if (seconds := seconds_of(_text(said, b"retry-after"))) is not None:
        return seconds
    milliseconds = _text(said, b"retry-after-ms")
    return seconds_of(f"{milliseconds}e-3") if milliseconds.isdigit() else None


def seconds_of(duration: object) -> int | None:
    """Return how long "34", "34.4" or "34.4s" is in whole seconds, no less; None if it is none."""
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    seconds = math.ceil(float(found[1])) if found else -1
    return seconds if 0 <= seconds <= MAX_RETRY_SECONDS else None


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode("latin-1")
