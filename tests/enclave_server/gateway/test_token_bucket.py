"""Tests of the limit on how often something may happen."""

from hypothesis import given
from hypothesis import strategies as st

from enclave_server.gateway.token_bucket import TokenBucket


def test_a_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(100) for _ in range(4)] == [True, True, True, False]


def test_a_rate_of_zero_allows_nothing_after_the_burst() -> None:
    assert not TokenBucket(rate=0, burst=0, now=0).take(1e9)


@given(st.floats(0.1, 100), st.floats(1, 10), st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_rate_and_burst(rate: float, burst: float, pauses: list[float]) -> None:
    bucket = TokenBucket(rate, burst, now=0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= burst + rate * now + 1e-6
