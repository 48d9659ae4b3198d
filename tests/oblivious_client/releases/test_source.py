"""What a route relies on: the list of the moment, what was seen before, and the clocks."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oblivious_client.errors import EvidenceRefused
from oblivious_client.exits import Exit
from oblivious_client.policy import Policy
from oblivious_client.releases.memory import ReleaseMemory, Seen, memory_for
from oblivious_client.releases.source import (
    AGAIN_SECONDS,
    RENEW_SECONDS,
    Releases,
    unpublished,
)
from oblivious_client.releases.trust import DAY_SECONDS, Quorum
from protocol.evidence import Evidence, Platform
from protocol.signed_note import Note
from tests.support.releases import (
    BUILDERS,
    NOW,
    TRUST,
    WITNESSES,
    Log,
    log_of,
    note,
    pcrs,
    release,
)

DAY = DAY_SECONDS
FOUR = log_of(*(release(number, valid_from=NOW - (5 - number) * DAY) for number in range(1, 5)))
Make = Callable[..., Releases]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes what one run of the client has; all have one memory."""

    def made(given: bytes | None = None) -> Releases:
        return Releases(TRUST, memory_for(TRUST, tmp_path), given=given, now=NOW)

    return made


def code(call: Callable[..., Any], *arguments: Any, **options: Any) -> Exit:
    with pytest.raises(EvidenceRefused) as refused:
        call(*arguments, **options)
    assert refused.value.advice
    return refused.value.code


def numbers(releases: Releases, now: float = NOW) -> list[int]:
    return [each.release.sequence for each in releases.accepted(now)]


def test_none_has_been_fetched(make: Make) -> None:
    releases = make()
    assert releases.is_due(NOW)
    assert releases.may_have_changed(NOW)
    assert code(releases.accepted, NOW) is Exit.RELEASES_STALE
    assert releases.warning(NOW) == ""


def test_a_list_is_taken_and_remembered(make: Make) -> None:
    make().take(FOUR.served(), now=NOW)
    releases = make()
    assert numbers(releases) == [4, 3, 2, 1]
    policy = releases.policy(Policy(max_age=60), NOW)
    assert policy.max_age == 60
    assert [dict(each) for each in policy.releases] == [pcrs(number) for number in (4, 3, 2, 1)]


def test_when_it_is_fetched_again(make: Make) -> None:
    releases = make()
    releases.take(FOUR.served(), now=NOW)
    for after, due, again in (
        (0, False, False),
        (AGAIN_SECONDS - 1, False, False),
        (AGAIN_SECONDS, False, True),
        (RENEW_SECONDS - 1, False, True),
        (RENEW_SECONDS, True, True),
        (-1, True, True),
    ):
        assert releases.is_due(NOW + after) is due
        assert releases.may_have_changed(NOW + after) is again


def test_one_that_ages_is_fetched_again_sooner(make: Make) -> None:
    releases = make()
    for age, after in ((4 * DAY, RENEW_SECONDS), (5 * DAY, 3600), (7 * DAY, AGAIN_SECONDS)):
        releases.take(FOUR.served(NOW), now=NOW + age)
        assert not releases.is_due(NOW + age + after - 1 if after != RENEW_SECONDS else NOW + age)
        assert releases.is_due(NOW + age + after)


def test_a_list_that_is_given_is_never_fetched(make: Make) -> None:
    releases = make(FOUR.served())
    assert numbers(releases) == [4, 3, 2, 1]
    assert not releases.is_due(NOW + 900 * DAY)
    assert not releases.may_have_changed(NOW + 900 * DAY)


def test_frozen_list(make: Make) -> None:
    releases = make()
    releases.take(FOUR.served(NOW), now=NOW)
    assert numbers(releases, NOW + 7 * DAY - 1)
    assert code(releases.accepted, NOW + 7 * DAY) is Exit.RELEASES_STALE
    # The relay goes on with the old one.
    releases.take(FOUR.served(NOW), now=NOW + 8 * DAY)
    with pytest.raises(EvidenceRefused, match="is 8 days old, and enough for 7 days") as refused:
        releases.accepted(NOW + 8 * DAY)
    assert refused.value.code is Exit.RELEASES_STALE
    releases.take(FOUR.served(NOW + 8 * DAY), now=NOW + 8 * DAY)
    assert numbers(releases, NOW + 8 * DAY)


def test_a_warning_before(make: Make) -> None:
    releases = make(FOUR.served(NOW))
    assert releases.warning(NOW + 5 * DAY - 1) == ""
    assert "5 days old" in releases.warning(NOW + 5 * DAY)
    assert "in 2 days" in releases.warning(NOW + 5 * DAY)


def test_a_longer_list_takes_the_place_of_a_shorter(make: Make) -> None:
    releases = make()
    releases.take(FOUR.fork(2).served(), now=NOW)
    releases.take(FOUR.served(), now=NOW)
    assert numbers(releases)[0] == 4
    assert numbers(make())[0] == 4


def test_rollback(make: Make) -> None:
    releases = make()
    releases.take(FOUR.served(NOW), now=NOW)
    # A copy of yesterday, even one that is witnessed later, is no conflict and takes nothing back.
    for time in (NOW - DAY, NOW + DAY):
        assert releases.take(FOUR.fork(2).served(time), now=NOW).checkpoint.size == 4
        assert numbers(releases)[0] == 4
        assert numbers(make())[0] == 4
    assert code(releases.accepted, NOW + 7 * DAY) is Exit.RELEASES_STALE


def test_what_was_seen_counts_whoever_is_trusted_later(make: Make, tmp_path: Path) -> None:
    make().take(FOUR.served(), now=NOW)
    later = dataclasses.replace(TRUST, witnesses=Quorum(1, (WITNESSES[2].key,)))
    releases = Releases(later, memory_for(later, tmp_path), now=NOW)
    assert releases.current() is None
    assert releases.is_due(NOW)

    def served(log: Log) -> bytes:
        return dataclasses.replace(log, witnesses=WITNESSES[2:]).served()

    assert code(releases.take, served(FOUR.fork(2)), now=NOW) is Exit.RELEASES_REFUSED
    releases.take(served(FOUR), now=NOW)
    assert numbers(releases)[0] == 4
    other = FOUR.fork(3).add(note(release(4, version="9")))
    assert code(releases.take, served(other), now=NOW) is Exit.RELEASES_CONFLICT


def test_an_older_look_of_the_witnesses_takes_nothing_back(make: Make) -> None:
    make().take(FOUR.served(NOW), now=NOW)
    assert make().take(FOUR.served(NOW - 3 * DAY), now=NOW).as_of == NOW


@pytest.mark.parametrize(
    "past",
    [
        FOUR.fork(3).add(note(release(4, version="9"))),
        FOUR.fork(1),
        log_of(release(1, version="9"), *(release(number) for number in range(2, 9))),
    ],
)
def test_another_past(make: Make, past: Log) -> None:
    seen = log_of(release(1, version="8"), release(2)) if len(past.entries) == 1 else FOUR
    releases = make()
    releases.take(seen.served(), now=NOW)
    assert code(releases.take, past.served(), now=NOW) is Exit.RELEASES_CONFLICT
    kept = sorted(path.name for path in releases.memory.conflicts())
    assert kept == ["conflict-seen.json", "conflict-served.json"]
    # Nothing is relied on any more, by nobody, whatever is served.
    for each in (releases, make()):
        assert code(each.accepted, NOW) is Exit.RELEASES_CONFLICT
        assert code(each.take, seen.served(), now=NOW) is Exit.RELEASES_CONFLICT
    releases.memory.forget(NOW)
    fresh = make()
    fresh.take(past.served(), now=NOW)
    assert numbers(fresh)


def test_a_list_that_does_not_verify_changes_nothing(make: Make) -> None:
    releases = make()
    releases.take(FOUR.served(), now=NOW)
    bad = dataclasses.replace(FOUR, witnesses=WITNESSES[:1]).add(note(release(5))).served()
    assert code(releases.take, bad, now=NOW) is Exit.RELEASES_REFUSED
    assert numbers(releases)[0] == 4
    assert numbers(make())[0] == 4


def test_a_list_without_a_release_that_will_do(make: Make) -> None:
    releases = make(log_of(release(1, valid_from=NOW + DAY)).served())
    assert code(releases.accepted, NOW) is Exit.RELEASES_REFUSED


def test_a_list_of_the_future_is_a_matter_of_clocks(make: Make) -> None:
    releases = make(FOUR.served(NOW))
    with pytest.raises(EvidenceRefused, match="3 hours from now") as refused:
        releases.accepted(NOW - 3 * 3600)
    assert refused.value.code is Exit.RELEASES_STALE


# Second clocks.


def evidence_of(seconds: float, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.setattr("oblivious_client.releases.source._attested", lambda _: seconds)
    return Evidence(b"", b"", b"", Platform.AWS_NITRO)


@pytest.mark.parametrize(
    ("listed", "attested", "said"),
    [
        (5 * 3600, 4 * 3600, "4 hours behind"),
        (-9 * DAY, -8 * DAY, "8 days ahead"),
        (-9 * DAY, -600, ""),  # the list is old, and the clock is right
        (5 * 3600, -600, ""),
        (-2 * DAY, -4 * 3600, ""),  # the document is old: a list always is of some days ago
        (5 * 3600, 100, ""),
    ],
)
def test_both_clocks_have_to_say_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, listed: int, attested: int, said: str
) -> None:
    releases = make(FOUR.served(NOW + listed))
    refusal = EvidenceRefused("old", advice="look", code=Exit.STALE)
    evidence = evidence_of(NOW + attested, monkeypatch)
    found = releases.explained(refusal, evidence, NOW)
    assert found.code is Exit.STALE
    assert str(found) == "old"
    assert (said in found.advice) if said else found is refusal


def test_other_refusals_stay_as_they_are(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    releases = make(FOUR.served(NOW + 5 * 3600))
    refusal = EvidenceRefused("forged", code=Exit.CHAIN)
    assert releases.explained(refusal, evidence_of(NOW + 5 * 3600, monkeypatch), NOW) is refusal


def test_a_document_that_says_no_time_is_no_clock(make: Make) -> None:
    releases = make(FOUR.served(NOW + 5 * 3600))
    refusal = EvidenceRefused("old", code=Exit.STALE)
    evidence = Evidence(b"garbage", b"", b"", Platform.AWS_NITRO)
    assert releases.explained(refusal, evidence, NOW) is refusal


def test_evidence_is_of_the_release_all_of_whose_measurements_it_has(make: Make) -> None:
    signed = release(2, valid_from=NOW - DAY, pcrs={**pcrs(2), 8: b"\x08" * 48})
    log = log_of(release(1, valid_from=NOW - 2 * DAY), signed)
    releases = make(log.served())

    def found(measured: dict[int, bytes]) -> int | None:
        verified: Any = SimpleNamespace(attestation=SimpleNamespace(pcrs=measured))
        accepted = releases.release_of(verified, NOW)
        return None if accepted is None else accepted.release.sequence

    others = {index: bytes(48) for index in range(3, 16)}
    assert found({**others, **pcrs(1)}) == 1
    assert found({**others, **pcrs(2), 8: b"\x08" * 48}) == 2
    assert found({**others, **pcrs(2)}) is None  # not signed as the release is
    assert found(pcrs(3)) is None
    assert found({**pcrs(1), 2: pcrs(2)[2]}) is None
    assert found({0: pcrs(1)[0], 1: pcrs(1)[1]}) is None
    assert found({}) is None


def test_what_nobody_has_published_is_said_to_be_that() -> None:
    said = unpublished(EvidenceRefused("PCR0 is another", code=Exit.PCRS), TRUST)
    assert said.code is Exit.PCRS
    assert "what 2 of 3 builders have not published, or not for now: PCR0 is another" in str(said)


def test_a_list_of_a_later_kind_wants_a_later_client(make: Make) -> None:
    text = "oblivious-inference/release/v2\n{}\n"
    later = Note(text, tuple(builder.sign(text) for builder in BUILDERS))
    with pytest.raises(EvidenceRefused) as refused:
        make().take(log_of(release(1)).add(later).served(), now=NOW)
    assert (refused.value.code, refused.value.advice) == (
        Exit.RELEASES_REFUSED,
        "update the client",
    )


def test_who_reads_before_another_writes_puts_no_shorter_list_in_its_place(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = log_of(*(release(number, valid_from=NOW - DAY) for number in range(1, 5)))
    load = ReleaseMemory.load
    others: list[threading.Thread] = []

    def another() -> None:
        make().take(four.served(), now=NOW)

    def reading(memory: ReleaseMemory) -> Seen | None:
        seen = load(memory)
        if not others:
            others.append(threading.Thread(target=another))
            others[0].start()
            others[0].join(0.5)  # without a lock it is through by then
        return seen

    monkeypatch.setattr(ReleaseMemory, "load", reading)
    make().take(four.fork(3).served(), now=NOW)
    others[0].join()
    assert numbers(make()) == [4, 3, 2, 1]
