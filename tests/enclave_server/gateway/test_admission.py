"""Tests of which opened requests are answered, by a clock that the tests set."""

import json

import pytest

from enclave_server.gateway.admission import RETRY_AFTER_SECONDS, Admission
from enclave_server.gateway.replay import ReplayFilter
from enclave_server.http.dates import format_date, parse_date
from enclave_server.keys.ring import KeySet
from protocol.binary_http import Request
from protocol.registry import DATE_PROBLEM
from tests.enclave_server.keys.test_ring import DAY, START, made_key_set

ENC = b"e" * 32
LONG_AGO = 1_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Case:
    """An admission with a clock of its own and the keys of one day."""

    def __init__(self, capacity: int = 1000, *, require_date: bool = True) -> None:
        self.clock = Clock()
        self.keys = made_key_set()
        self.admission = Admission(
            ReplayFilter(capacity),
            self._keys,
            window=300,
            require_date=require_date,
            clock=self.clock,
        )

    def _keys(self) -> KeySet:
        return self.keys

    def status(self, enc: bytes, *dates: bytes, key_id: int = 7) -> int:
        """Return the status of the refusal, 0 for none."""
        headers = tuple((b"date", date) for date in dates)
        request = Request(b"POST", b"https", b"", b"/", headers)
        refusal = self.admission(enc, key_id, request)
        return refusal.status if refusal else 0

    def date(self, offset: float = 0) -> bytes:
        return format_date(self.clock.now + offset)


def test_once() -> None:
    case = Case()
    assert case.status(ENC, case.date()) == 0
    assert case.status(ENC, case.date()) == 409
    assert case.status(b"f" * 32, case.date()) == 0


@pytest.mark.parametrize(("offset", "status"), [(-301, 400), (-300, 0), (300, 0), (301, 400)])
def test_the_window(offset: float, status: int) -> None:
    case = Case()
    assert case.status(ENC, case.date(offset)) == status


def test_a_date_ahead_is_remembered_for_twice_the_window() -> None:
    case = Case()
    date = case.date(300)
    assert case.status(ENC, date) == 0
    case.clock.now += 600
    assert case.status(ENC, date) == 409
    case.clock.now += 1
    assert case.status(ENC, date) == 400


def test_a_wrong_date_is_told_the_right_one_and_is_not_remembered() -> None:
    case = Case()
    request = Request(b"POST", b"https", b"", b"/", ((b"date", format_date(LONG_AGO)),))
    refusal = case.admission(ENC, 7, request)
    assert refusal is not None
    assert json.loads(refusal.content)["type"] == DATE_PROBLEM
    assert dict(refusal.headers)[b"date"] == case.date()
    assert case.status(ENC, case.date()) == 0


def test_no_date_two_dates_and_no_date_at_all() -> None:
    case = Case()
    assert case.status(ENC) == 400
    assert case.status(ENC, case.date(), case.date()) == 400
    assert case.status(ENC, b"yesterday") == 400


def test_a_request_without_date_is_remembered_until_its_key_ends() -> None:
    case = Case(require_date=False)
    assert case.status(ENC) == 0
    case.clock.now = START + DAY.lifetime + DAY.grace
    assert case.status(ENC) == 409
    case.clock.now += 1
    assert case.status(ENC) == 400


def test_where_dates_may_be_absent_wrong_ones_are_still_refused() -> None:
    case = Case(require_date=False)
    assert case.status(ENC, format_date(LONG_AGO)) == 400


def test_rotation_clears_what_can_no_longer_be_opened() -> None:
    case = Case(capacity=1)
    end = case.keys.ends[0]
    case.clock.now = end - 1
    encs = [bytes([number]) * 32 for number in range(200)]
    statuses = [case.status(enc, case.date()) for enc in encs]
    assert set(statuses) == {0, 503}
    # The dates would keep these entries for 300 seconds; the end of their key frees them now.
    case.clock.now = end + 1
    case.keys = made_key_set(START + 30 * 24 * 3600)
    key_id = case.keys.gateway_keys[0].key_id
    assert case.status(b"n" * 32, case.date(), key_id=key_id) == 0


def test_a_key_that_ended_admits_nothing_when_the_clock_goes_back() -> None:
    """A follower whose clock was ahead dropped it, and gets it again with its leader's state."""
    case = Case()
    end = case.keys.end_of(7)
    case.clock.now = end - 60
    date = case.date()
    assert case.status(ENC, date) == 0
    case.clock.now = end + 1
    assert case.status(b"f" * 32, date) == 400
    case.clock.now = end - 30
    assert case.status(ENC, date) == 400
    assert case.status(b"g" * 32, case.date()) == 400


def test_full_says_when_to_come_back() -> None:
    case = Case(capacity=1)
    request = Request(b"POST", b"https", b"", b"/", ((b"date", case.date()),))
    refusals = [case.admission(bytes([number]) * 32, 7, request) for number in range(200)]
    full = [refusal for refusal in refusals if refusal is not None]
    assert {refusal.status for refusal in full} == {503}
    assert dict(full[0].headers)[b"retry-after"] == b"%d" % RETRY_AFTER_SECONDS


def test_dates_are_written_and_read() -> None:
    assert format_date(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert parse_date(b"Sun, 06 Nov 1994 08:49:37 GMT") == 784111777
    for seconds in range(0, 4_000_000_000, 86_400 * 97 + 12_345):
        assert parse_date(format_date(seconds)) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 nov 1994 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT\n",
        b"1994-11-06T08:49:37Z",
    ],
)
def test_other_forms_are_not_dates(value: bytes) -> None:
    assert parse_date(value) is None
