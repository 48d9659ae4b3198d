"""Which releases will do at a time."""

import dataclasses

from oblivious_client.releases import acceptance
from oblivious_client.releases.acceptance import CLOCK_SKEW_SECONDS, accepted, floor
from oblivious_client.releases.published import Published, verify
from oblivious_client.releases.trust import DAY_SECONDS
from tests.support.releases import BUILDERS, NOW, TRUST, Log, log_of, note, release

DAY = DAY_SECONDS


def published(log: Log, time: int = NOW) -> Published:
    return verify(log.notes(time), TRUST)


def numbers(log: Log, now: float) -> list[int]:
    return [each.release.sequence for each in accepted(published(log), now)]


def test_the_newest_and_what_it_has_replaced_not_long_ago() -> None:
    log = log_of(release(1, valid_from=NOW), release(2, valid_from=NOW + 5 * DAY))
    assert numbers(log, NOW - CLOCK_SKEW_SECONDS - 1) == []
    assert numbers(log, NOW - CLOCK_SKEW_SECONDS) == [1]
    assert numbers(log, NOW + 5 * DAY - CLOCK_SKEW_SECONDS - 1) == [1]
    assert numbers(log, NOW + 5 * DAY) == [2, 1]
    assert numbers(log, NOW + 19 * DAY - 1) == [2, 1]
    assert numbers(log, NOW + 19 * DAY) == [2]
    assert numbers(log, NOW + 10_000 * DAY) == [2]


def test_until_when() -> None:
    log = log_of(release(1, valid_from=NOW), release(2, valid_from=NOW + 5 * DAY))
    newest, before = accepted(published(log), NOW + 6 * DAY)
    assert (newest.until, before.until) == (None, NOW + 19 * DAY)
    assert before.entry.is_signed


def test_a_release_that_is_hardly_begun_ends_none() -> None:
    log = log_of(*(release(number, valid_from=NOW + number * DAY) for number in range(1, 5)))
    assert numbers(log, NOW + 2.5 * DAY) == [2, 1]
    assert numbers(log, NOW + 15.5 * DAY) == [4, 3, 2, 1]
    assert numbers(log, NOW + 16.5 * DAY) == [4, 3, 2]


def test_the_floor_counts_at_once() -> None:
    log = log_of(release(1), release(2))
    assert numbers(log, NOW - 28 * DAY) == [2, 1]
    log.add(note(release(3, floor=2, valid_from=NOW + 900 * DAY)))
    assert numbers(log, NOW - 28 * DAY) == [2]
    log.add(note(release(4, floor=4, valid_from=NOW + 900 * DAY)))
    assert numbers(log, NOW - 28 * DAY) == []
    assert floor(published(log)) == 4


def test_too_few_builders_raise_no_floor_and_replace_nothing() -> None:
    log = log_of(release(1), release(2))
    log.add(note(release(3, floor=3), BUILDERS[:1]))
    assert numbers(log, NOW) == [2]
    assert floor(published(log)) == 1
    assert numbers(log_of(release(1)).add(note(release(2), BUILDERS[:1])), NOW) == [1]


def test_going_back_is_a_release_of_its_own() -> None:
    old = release(1)
    log = log_of(old, release(2), release(3, pcrs=old.pcrs, floor=3, version="1.1.0"))
    (found,) = accepted(published(log), NOW)
    assert found.release.pcrs == old.pcrs


def test_images_of_one_release_do_not_replace_one_another() -> None:
    kernels = ("debian-6.12.117-1", "aws-4.14", "nitro-cli")
    log = log_of(
        release(1, valid_from=NOW - 300 * DAY),
        *(release(2, kernel=kernel, valid_from=NOW - 100 * DAY) for kernel in kernels),
    )
    found = accepted(published(log), NOW)
    assert [each.release.kernel for each in found] == [*reversed(kernels)]
    assert {each.until for each in found} == {None}


def test_nothing_is_looked_at_that_cannot_be_taken() -> None:
    log = log_of(*(release(number, valid_from=NOW + number * DAY) for number in range(1, 101)))
    found = published(log)
    assert len(accepted(found, NOW + 101 * DAY)) == 14
    looked_at = [entry for entry in found.entries if "signers" in vars(entry)]
    assert len(looked_at) < 20


def test_how_old_a_list_may_be() -> None:
    found = published(log_of(release(1)))
    assert acceptance.fresh_until(found) == NOW + 7 * DAY
    for days, warns, is_stale in ((4.99, False, False), (5, True, False), (7, True, True)):
        assert acceptance.warns(found, NOW + days * DAY) is warns
        assert acceptance.is_stale(found, NOW + days * DAY) is is_stale
    assert not acceptance.is_ahead(found, NOW - CLOCK_SKEW_SECONDS)
    assert acceptance.is_ahead(found, NOW - CLOCK_SKEW_SECONDS - 1)


def test_a_list_that_holds_for_a_day_warns_at_half_of_it() -> None:
    short = dataclasses.replace(TRUST, fresh_days=1)
    found = verify(log_of(release(1)).notes(NOW), short)
    assert not acceptance.warns(found, NOW + 0.49 * DAY)
    assert acceptance.warns(found, NOW + 0.5 * DAY)
