"""Second clocks: what times of others say of this machine's."""

import pytest

from oblivious_client.releases.clocks import advice, in_words, offset

HOUR = 3600.0


@pytest.mark.parametrize(
    ("others", "wrong"),
    [
        ((), 0),
        ((0.0,), 0),
        ((5.0, 9.0), -5),
        ((-5.0, -9.0), 5),
        ((5.0, -9.0), 0),
        ((0.0, 9.0), 0),
        ((0.5,), -0.5),
        ((-0.5,), 0.5),
        ((0.5, -0.5), 0),
    ],
)
def test_only_what_all_say_counts(others: tuple[float, ...], wrong: float) -> None:
    assert offset(100, *(100 + other for other in others)) == wrong


def test_advice() -> None:
    assert advice(0, 3 * HOUR, 5 * HOUR, allowed=300) == (
        "your clock seems to be 3 hours behind: set it, and ask again"
    )
    assert "2 days ahead" in advice(48 * HOUR, 0, allowed=300)
    assert advice(0, 300, allowed=300) == ""
    assert advice(0, 301, allowed=300) != ""
    assert "minutes ahead" in advice(0.5, 0, allowed=0)
    assert advice(0, 3 * HOUR, -3 * HOUR, allowed=300) == ""


def test_durations() -> None:
    words = [in_words(each) for each in (60, 1700, 1900, HOUR, 2 * HOUR, 47 * HOUR, 48 * HOUR)]
    assert words == [
        *("1 minutes", "28 minutes", "1 hour", "1 hour", "2 hours", "47 hours", "2 days")
    ]
    halves = [in_words(each) for each in (1799, 1800, 5400, 60 * HOUR, 84 * HOUR)]
    assert halves == ["30 minutes", "30 minutes", "2 hours", "2 days", "4 days"]
