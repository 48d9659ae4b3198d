"""What the status of an upstream's answer means, in whatever dialect.

| upstream | answer |
| --- | --- |
| 400, 413, 422 | 400: `context_length_exceeded` if it says so, or the parameter it blames |
| 429 | 429 with its Retry-After; 503 if the operator's quota is used up |
| 503, 529 | 503 with its Retry-After |
| other 4xx: key, account, model's name there | 503 |
| 408, 504 | 504 |
| anything else | 502 |
"""

import re

from enclave_server.chat.errors import Failure
from protocol.binary_http import Fields

MAX_RETRY_SECONDS = 86400

_BY_STATUS = {
    400: Failure.REJECTED,
    408: Failure.SLOW,
    413: Failure.TOO_LONG,
    422: Failure.REJECTED,
    429: Failure.LIMITED,
    503: Failure.BUSY,
    504: Failure.SLOW,
    529: Failure.BUSY,
}


def failure_of(status: int) -> Failure:
    """Return what `status` means if the body says no more."""
    return _BY_STATUS.get(status, Failure.REFUSED if 400 <= status < 500 else Failure.BROKEN)


def retry_after(fields: Fields) -> int | None:
    """Return the seconds of a Retry-After field, or None if it is a date, absurd or garbage."""
    value = dict(fields).get(b"retry-after", b"")
    if not re.fullmatch(rb"[0-9]{1,5}", value) or int(value) > MAX_RETRY_SECONDS:
        return None
    return int(value)
