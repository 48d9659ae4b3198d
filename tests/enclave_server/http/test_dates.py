"""Dates of HTTP fields, against the standard library."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.http.dates import CurrentDate, format_date, parse_date

SECONDS = st.integers(0, 253402300799)  # until the end of 9999


@given(SECONDS)
def test_dates_are_those_of_the_standard_library(seconds: int) -> None:
    date = formatdate(seconds, usegmt=True).encode()
    assert format_date(seconds) == date
    assert parse_date(date) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 GMT ",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 32 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1969 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 06 Bar 1994 08:49:37 GMT",
        b"Son, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 6_ Nov 1994 08:49:37 GMT",
    ],
)
def test_other_forms_are_no_dates(value: bytes) -> None:
    assert parse_date(value) is None


def test_a_leap_second_is_a_date() -> None:
    assert parse_date(b"Sat, 31 Dec 2016 23:59:60 GMT") == 1483228800


def test_the_current_date_follows_the_clock() -> None:
    times = iter([784111777.0, 784111777.9, 784111778.0, 784111700.0])
    date = CurrentDate(lambda: next(times))
    assert [date.value() for _ in range(4)] == [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:38 GMT",
        b"Sun, 06 Nov 1994 08:48:20 GMT",
    ]
