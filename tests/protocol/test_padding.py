"""Buckets: powers of two to 64 KiB, then Padmé."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.padding import LARGEST_BUCKET, SMALLEST_BUCKET, bucket, pad


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 1024),
        (1, 1024),
        (1024, 1024),
        (1025, 2048),
        (2048, 2048),
        (2049, 4096),
        (65535, 65536),
        (65536, 65536),
        # floor(log2 L) = 16 has 5 bits itself: the 11 lowest bits become zero, rounding up.
        (65537, 67584),
        (100_000, 100_352),
        (1 << 20, 1 << 20),
        ((1 << 20) + 1, (1 << 20) + (1 << 15)),
    ],
)
def test_bucket(size: int, expected: int) -> None:
    assert bucket(size) == expected


def test_refuses_negative_sizes() -> None:
    with pytest.raises(ValueError, match="negative"):
        bucket(-1)


def test_few_short_sizes() -> None:
    sizes = {bucket(size) for size in range(LARGEST_BUCKET + 1)}
    assert sizes == {1024, 2048, 4096, 8192, 16384, 32768, 65536}


@given(st.integers(0, 1 << 40))
def test_a_bucket_holds_its_size_and_is_stable(size: int) -> None:
    padded = bucket(size)
    assert padded >= max(size, SMALLEST_BUCKET)
    assert bucket(padded) == padded


@given(st.integers(LARGEST_BUCKET + 1, 1 << 40))
def test_long_messages_cost_at_most_12_percent(size: int) -> None:
    assert bucket(size) <= size * 1.12


@given(st.integers(0, 1 << 24), st.integers(0, 1 << 24))
def test_longer_messages_do_not_get_smaller_buckets(one: int, other: int) -> None:
    assert (bucket(one) <= bucket(other)) or one > other


def test_pad_adds_zeros() -> None:
    assert pad(b"abc") == b"abc" + bytes(1021)
    assert pad(bytes(1024)) == bytes(1024)
