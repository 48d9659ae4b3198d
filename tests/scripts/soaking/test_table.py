"""The table: it has every figure, and says which limits were not kept."""

from dataclasses import replace

from scripts.soaking.judging import Ask, Outage, Outcome, judge
from scripts.soaking.measures import Measure
from scripts.soaking.table import Findings, more_than

ASKS = [
    Ask("whole", "mark-0", 1, 2, Outcome.RIGHT),
    Ask("refused", "mark-1", 1, 2, Outcome.REFUSED, status=400),
    Ask("stream", "mark-2", 5, 6, Outcome.FAILED, said="check the address"),
    Ask("stream", "mark-3", 9, 10, Outcome.WRONG, said="another's"),
]
OUTAGES = [Outage("relay", 4, 5, 5.5, 5)]


def taken(at: float, pid: int = 7, descriptors: int = 10, threads: int = 1) -> Measure:
    return Measure("worker", pid, at, 30 * 1024, 2 * 1024, descriptors, threads, cpu=at / 100)


def findings() -> Findings:
    verdict = judge(4, ASKS, OUTAGES, ["mark-0"])
    samples = [taken(at) for at in (0.0, 30.0, 60.0)]
    return Findings(verdict, OUTAGES, samples, [samples[:1], samples[:1]], [], 0.0, 60.0)


def test_the_table_has_every_figure() -> None:
    text = findings().text()
    for line in (
        "asked                 4  in 1.0 min, 0.1 a second",
        "answered right        1",
        "with status              400 1 times",
        "wrong                 1",
        "lost                  0",
        "     1  relay: check the address",
        "  wrong: stream mark-3, 9.00 to 10.00 s: another's",
        "NOT KEPT: wrong: 1",
        "NOT KEPT: told the wrong thing to do: 1",
    ):
        assert line in text.splitlines(), line
    assert "30.0" in text
    assert round(findings().core, 3) == 0.01


def test_the_same_is_in_the_json() -> None:
    written = findings().as_json()
    assert written["asked"] == 4
    assert written["wrong"] == 1
    assert written["refusals"] == {"400": 1}
    assert written["own_kib"] == {"worker 7": [(at, 30 * 1024) for at in (0, 30, 60)]}
    assert written["outages"] == [{"fault": "relay", "at": 4, "seconds": 0.5}]


def test_a_run_that_kept_all_limits_says_so() -> None:
    good = replace(findings(), verdict=judge(1, ASKS[:1], [], ["mark-0"]))
    assert good.breaches() == []
    assert "all limits were kept" in good.text()
    assert replace(good, canaries=["log"]).breaches() == ["a question's text is in a log"]


def test_memory_that_grows_is_noticed() -> None:
    grown = [
        replace(taken(at), own_kib=30_000 + 10 * at, shared_kib=30_000) for at in range(0, 900, 100)
    ]
    good = replace(findings(), verdict=judge(1, ASKS[:1], [], ["mark-0"]), samples=grown)
    (breach,) = good.breaches()
    assert breach.startswith("memory of the worker 7 grew by 1")
    unfilled = [replace(each, shared_kib=0) for each in grown]
    young = replace(good, samples=unfilled)
    assert young.breaches() == []
    assert "no worker saw enough for its memory to be judged" in young.text()


def test_what_is_held_afterwards_is_compared_by_role() -> None:
    before = [taken(0), taken(0, pid=8, descriptors=12)]
    assert more_than(before, [taken(9, pid=9, descriptors=12)]) == []
    assert more_than(before, [taken(9, pid=9, descriptors=13, threads=3)]) == [
        "worker: 1 more descriptors",
        "worker: 2 more threads",
    ]
    assert more_than(before, [*before, taken(9)]) == ["worker: 1 more processes"]
