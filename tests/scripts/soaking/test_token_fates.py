"""What is demanded of a token, by what happened to it."""

import json

import pytest

from scripts.soaking.paid_path import REDIS, SERVER, WORKER, Kill
from scripts.soaking.token_fates import (
    ALLOWED,
    Began,
    Fate,
    Offer,
    Tally,
    Travels,
    fate,
    history,
    is_commit_lost,
)

BEGAN = Began(worker=7, at=100.0)  # its commit is due at 120


def travels(*events: tuple[str, str], began: bool = False) -> Travels:
    made = Travels()
    lines = [{"event": event, "mark": mark, "token": "t"} for event, mark in events]
    made.read_journal(json.dumps(line).encode() for line in lines)
    if began:
        made.read_notes(["arrived m 7 99.0", "began m 7 100.0"])
    return made


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        (travels(), Fate.FRESH),
        (travels(("took", "m"), ("failed", "m")), Fate.UNBEGUN),
        (travels(("took", "m")), Fate.HUNG_UP),
        (travels(("took", "m"), ("failed", "m"), began=True), Fate.CUT),
        (travels(("took", "m"), ("answered", "m"), began=True), Fate.ANSWERED),
    ],
)
def test_a_token_has_the_fate_that_was_noted(noted: Travels, expected: Fate) -> None:
    assert fate("t", noted, []) is expected


def test_a_question_is_answered_for_its_last_token() -> None:
    noted = Travels()
    for token in ("refused", "last"):
        noted.read_journal([json.dumps({"event": "took", "mark": "m", "token": token}).encode()])
    noted.read_journal([json.dumps({"event": "answered", "mark": "m"}).encode()])
    noted.read_notes(["began m 7 100.0"])
    assert fate("last", noted, []) is Fate.ANSWERED
    assert fate("refused", noted, []) is Fate.UNBEGUN


@pytest.mark.parametrize(
    ("kill", "is_lost"),
    [
        (Kill(WORKER, 110.0, (7,), 110.0), True),
        (Kill(WORKER, 110.0, (8,), 110.0), False),  # another worker's
        (Kill(WORKER, 99.0, (7,), 99.0), False),  # before: it is another of that number
        (Kill(WORKER, 122.0, (7,), 122.0), False),  # the store had been told
        (Kill(SERVER, 110.0, (7, 8), 115.0), True),
        (Kill(REDIS, 121.0, (), 123.0), True),  # told, and not written yet
        (Kill(REDIS, 110.0, (), 112.0), False),  # back before it was told
        (Kill(REDIS, 125.0, (), 127.0), False),  # written
    ],
)
def test_a_commit_is_lost_by_who_had_it_and_nobody_else(kill: Kill, is_lost: bool) -> None:
    assert is_commit_lost(BEGAN, [kill]) is is_lost


def test_a_worker_that_waits_for_the_store_still_has_its_commits() -> None:
    away = Kill(REDIS, 119.5, (), 125.0)
    assert is_commit_lost(BEGAN, [away, Kill(WORKER, 125.5, (7,), 125.5)])
    assert not is_commit_lost(BEGAN, [Kill(WORKER, 125.5, (7,), 125.5)])


@pytest.mark.parametrize(("began", "is_lost"), [(119.5, True), (118.5, False)])
def test_what_began_just_before_a_flush_may_be_told_with_the_next(
    began: float, is_lost: bool
) -> None:
    assert is_commit_lost(Began(7, began), [Kill(WORKER, 140.0, (7,), 140.0)]) is is_lost


def test_the_history_of_a_token_names_its_answer_and_the_kills_after_it() -> None:
    noted = travels(("took", "m"), ("answered", "m"), began=True)
    kills = [Kill(WORKER, at, (7,), at) for at in (99.0, 110.5, 161.0)]
    said = history("t", noted, kills)
    assert "worker 7 at 100.00, 10.00 s after a flush" in said
    assert "killed at 110.50" in said
    assert said.count("killed") == 1


@pytest.mark.parametrize("of", list(Fate))
@pytest.mark.parametrize("offered", list(Offer))
def test_what_is_not_allowed_is_told(of: Fate, offered: Offer) -> None:
    tally = Tally()
    tally.add(of, offered)
    assert bool(tally.breaches()) is (offered not in ALLOWED[of])
    assert of.value in tally.text()


def test_a_token_that_was_answered_twice_is_told() -> None:
    tally = Tally()
    tally.answers.update(["a", "b", "a"])
    assert tally.breaches() == ["1 tokens were answered twice under load"]
