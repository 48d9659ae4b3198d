"""How long tokens are held and known as spent."""

from enclave_server.payment.lifetimes import KEPT_SECONDS, Lifetimes, epochs_of
from tests.support.private_tokens import epoch

FIRST, SECOND, THIRD = (epoch(number) for number in range(3))
ALL = Lifetimes(660, (FIRST, SECOND, THIRD))


def test_epochs_are_listed_once() -> None:
    assert epochs_of([SECOND, FIRST, SECOND, THIRD, FIRST]) == (FIRST, SECOND, THIRD)


def test_what_is_spent_is_kept_as_long_as_anything_of_its_time_is_taken() -> None:
    assert ALL.kept_until(FIRST.issue_from) == FIRST.redeem_until + 600
    assert ALL.kept_until(SECOND.issue_from - 601) == FIRST.redeem_until + 600
    # From here on a clock that is ten minutes ahead takes tokens of the second.
    assert ALL.kept_until(SECOND.issue_from - 600) == SECOND.redeem_until + 600
    assert ALL.kept_until(FIRST.redeem_until) == THIRD.redeem_until + 600
    assert ALL.kept_until(0) == THIRD.redeem_until + 600  # whoever's clock says so


def test_all_ends_are_known() -> None:
    assert {ALL.kept_until(each.issue_from) for each in ALL.epochs} == ALL.ends
    assert ALL.ends == {each.redeem_until + KEPT_SECONDS for each in ALL.epochs}
