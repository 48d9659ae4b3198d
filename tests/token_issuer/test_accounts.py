"""Accounts as rows: allowances in periods."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_issuer.accounts import Allowance, period, read_account


class Row:
    """A row of the table of accounts, as far as it is read."""

    id, name, balance, disabled, expires = 1, "", 0, False, None
    allowance, allowance_price, period_seconds = 10, 1, 100
    burst, burst_at = 0.0, 0.0

    def __init__(self, period: int, used: int) -> None:
        self.period, self.period_used = period, used


@pytest.mark.parametrize(
    ("used", "now", "left"),
    [(0, 500, 10), (4, 500, 6), (4, 599, 6), (4, 600, 10), (4, 499, 10), (12, 500, 0)],
)
def test_what_is_left_renews_with_each_period(used: int, now: int, left: int) -> None:
    assert read_account(Row(5, used), now).allowance_left == left  # type: ignore[arg-type]


@given(st.integers(1, 10**6), st.integers(0, 10**10))
def test_periods_are_of_their_length(seconds: int, now: int) -> None:
    allowance = Allowance(1, 1, seconds)
    assert period(allowance, now + seconds) == period(allowance, now) + 1
    assert period(allowance, now) * seconds <= now


@pytest.mark.parametrize("values", [(-1, 1, 1), (1 << 53, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_allowances_that_are_none(values: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="allowance"):
        Allowance(*values)


@pytest.mark.parametrize("values", [(0, 1, 1), ((1 << 53) - 1, 1, 1)])
def test_allowances_at_their_ends(values: tuple[int, int, int]) -> None:
    assert Allowance(*values).units == values[0]


def test_an_allowance_of_which_nothing_is_said() -> None:
    assert Allowance() == Allowance(0, 1, 86_400)
