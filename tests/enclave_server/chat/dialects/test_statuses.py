"""What a status means, and when to come back."""

import pytest

from enclave_server.chat.dialects.statuses import MAX_RETRY_SECONDS, failure_of, retry_after
from enclave_server.chat.errors import Failure

MEANINGS = {
    200: Failure.BROKEN,
    302: Failure.BROKEN,
    400: Failure.REJECTED,
    401: Failure.REFUSED,
    404: Failure.REFUSED,
    408: Failure.SLOW,
    413: Failure.TOO_LONG,
    422: Failure.REJECTED,
    429: Failure.LIMITED,
    499: Failure.REFUSED,
    500: Failure.BROKEN,
    503: Failure.BUSY,
    504: Failure.SLOW,
    529: Failure.BUSY,
    599: Failure.BROKEN,
}


@pytest.mark.parametrize("status", MEANINGS)
def test_status_means(status: int) -> None:
    assert failure_of(status) is MEANINGS[status]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"7", 7),
        (b"%d" % MAX_RETRY_SECONDS, MAX_RETRY_SECONDS),
        (b"%d" % (MAX_RETRY_SECONDS + 1), None),
        (b"999999", None),
        (b"-1", None),
        (b"1.5", None),
        (b"", None),
        (b"Tue, 01 Jan 2030 00:00:00 GMT", None),
    ],
)
def test_seconds_until_a_retry(value: bytes, seconds: int | None) -> None:
    assert retry_after(((b"date", b"x"), (b"retry-after", value))) == seconds


def test_no_field_is_no_advice() -> None:
    assert retry_after(()) is None
