"""How often outcomes are told, and of how many."""

from collections.abc import Mapping

from enclave_server.payment.tally import LEAST, REPORT_SECONDS, Outcome, Tally


def test_few_outcomes_are_carried_over_until_they_are_enough() -> None:
    told: list[Mapping[str, int]] = []
    tally = Tally(told.append)
    for _ in range(LEAST - 1):
        tally.count(Outcome.REDEEMED)
    tally.report()
    tally.report()
    assert told == []
    tally.count(Outcome.RETURNED)
    tally.report()
    nothing = {outcome.value: 0 for outcome in Outcome}
    assert told == [{**nothing, "redeemed": LEAST - 1, "returned": 1}]
    tally.report()
    assert len(told) == 1


def test_it_is_told_every_hour_and_nothing_but_outcomes() -> None:
    assert REPORT_SECONDS == 3600
    assert {outcome.value for outcome in Outcome} == {
        "redeemed",
        "returned",
        "refused_spent",
        "refused_invalid",
        "refused_small",
        "store_failed",
    }
