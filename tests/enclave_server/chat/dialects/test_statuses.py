"""What a status means, and when to come back."""

import pytest

from enclave_server.chat.dialects.statuses import (
    MAX_RETRY_SECONDS,
    failure_of,
    retry_after,
    seconds_of,
)
from enclave_server.chat.errors import Failure

MEANINGS = {
    200: Failure.BROKEN,
    302: Failure.BROKEN,
    399: Failure.BROKEN,
    400: Failure.REJECTED,
    401: Failure.REFUSED,
    404: Failure.NOT_SERVED,
    408: Failure.SLOW,
    413: Failure.TOO_LONG,
    422: Failure.REJECTED,
    424: Failure.BROKEN,
    429: Failure.LIMITED,
    451: Failure.FILTERED,
    498: Failure.BUSY,
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
        (b"1.5", 2),
        (b"1.5.1", None),
        (b"1e9", None),
        (b"", None),
        (b"Tue, 01 Jan 2030 00:00:00 GMT", None),
    ],
)
def test_seconds_until_a_retry(value: bytes, seconds: int | None) -> None:
    assert retry_after(((b"date", b"x"), (b"retry-after", value))) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"1", 1), (b"1000", 1), (b"1001", 2), (b"x", None), (b"", None)]
)
def test_milliseconds_count_where_seconds_are_not_said(value: bytes, seconds: int | None) -> None:
    assert retry_after(((b"retry-after-ms", value),)) == seconds
    assert retry_after(((b"retry-after-ms", value), (b"retry-after", b"9"))) == 9


@pytest.mark.parametrize(
    ("text", "seconds"), [("34.4s", 35), ("0s", 0), ("5", 5), ("s", None), (5, None), (None, None)]
)
def test_a_duration_is_never_shortened(text: object, seconds: int | None) -> None:
    assert seconds_of(text) == seconds


def test_no_field_is_no_advice() -> None:
    assert retry_after(()) is None
