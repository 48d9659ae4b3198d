"""What a soak has to notice: each fault that a path could have is one here, and is found."""

from collections.abc import Sequence
from typing import Any

import pytest

from scripts.soaking.judging import Ask, Outage, Outcome, Verdict, judge

OUTAGE = Outage("relay", begun=100, over=101, right=103, limit=5)
CUT = (
    "the answer broke off before its end: somebody on the way or the network cut it; "
    "what came is not all: ask again"
)


def asked(
    outcome: Outcome = Outcome.RIGHT,
    begun: float = 10,
    ended: float = 11,
    mark: str = "mark-0",
    said: str = "",
    **more: Any,
) -> Ask:
    return Ask("whole", mark, begun, ended, outcome, said=said, **more)


def judged(*asks: Ask, arrivals: Sequence[str] = ("mark-0",), lost: int = 0) -> Verdict:
    return judge(len(asks) + lost, asks, [OUTAGE], arrivals)


def test_what_is_right_keeps_every_limit() -> None:
    refused = asked(Outcome.REFUSED, mark="mark-1", status=400)
    verdict = judged(asked(), refused, asked(Outcome.LEFT, mark="mark-2"))
    assert verdict.breaches() == []
    assert verdict.share_right == 1
    assert verdict.refusals == {400: 1}
    assert verdict.outcomes == {Outcome.RIGHT: 1, Outcome.REFUSED: 1, Outcome.LEFT: 1}


@pytest.mark.parametrize(
    ("ask", "arrivals", "breach"),
    [
        (asked(Outcome.WRONG), ["mark-0"], "wrong: 1"),
        (asked(Outcome.SILENT), ["mark-0"], "silent: 1"),
        (asked(), ["mark-0", "mark-0"], "doubled: 1"),
        (asked(Outcome.FAILED, said=CUT), ["mark-0", "mark-0"], "doubled: 1"),
        (asked(), [], "wrong: 1"),  # an answer to what never arrived
        (asked(Outcome.REFUSED, status=400), ["mark-0"], "wrong: 1"),  # refused, and asked
        (asked(Outcome.FAILED, said="check the address"), [], "told the wrong thing to do: 1"),
        (asked(Outcome.FAILED, said=""), [], "told the wrong thing to do: 1"),
        (asked(Outcome.FAILED, said=CUT), [], "right outside of planned outages: 0.00%"),
    ],
)
def test_what_is_not_right_is_noticed(ask: Ask, arrivals: list[str], breach: str) -> None:
    assert breach in judged(ask, arrivals=arrivals).breaches()


def test_a_question_without_an_end_is_lost() -> None:
    assert judged(asked(), lost=2).breaches() == ["lost: 2"]


def test_in_a_planned_outage_a_failure_is_counted_apart() -> None:
    inside = [
        asked(Outcome.FAILED, begun, ended, said=CUT)
        for begun, ended in ((99, 100), (101, 102), (102.5, 110), (90, 120))
    ]
    verdict = judged(*inside)
    assert verdict.breaches() == []
    assert verdict.failures == {("relay", CUT): 4}
    assert verdict.outside == 0
    outside = [
        asked(Outcome.FAILED, begun, ended, said=CUT) for begun, ended in ((98, 99), (104, 105))
    ]
    assert len(judged(*outside).failed_outside) == 2


def test_wrong_is_wrong_in_an_outage_too() -> None:
    for outcome in (Outcome.WRONG, Outcome.SILENT):
        assert judged(asked(outcome, 100, 101)).breaches()


def test_advice_has_to_fit_the_fault() -> None:
    model = (
        "the service answered 502: The model's server failed.: the way to the service works, "
        "and its model does not for now: ask again shortly"
    )
    assert judged(asked(Outcome.FAILED, 100, 101, said=model)).misadvised  # the relay was killed
    unadvised = asked(Outcome.FAILED, 100, 101, said="a status alone: 502", is_advised=False)
    assert judged(unadvised).breaches() == []


def test_what_nobody_counts_need_not_arrive() -> None:
    assert judged(asked(mark="mark-9", is_counted=False)).breaches() == []


def test_a_few_failures_in_a_hundred_are_too_many() -> None:
    failed = asked(Outcome.FAILED, said=CUT)
    for failures, is_kept in ((1, True), (2, False)):
        asks = [asked()] * (100 - failures) + [failed] * failures
        assert (judged(*asks).breaches() == []) == is_kept


def test_an_outage_that_lasts_is_noticed() -> None:
    late = Outage("worker", begun=100, over=110, right=112.5, limit=2)
    assert late.seconds == 2.5
    assert judge(0, [], [late, OUTAGE], []).late == [late]
