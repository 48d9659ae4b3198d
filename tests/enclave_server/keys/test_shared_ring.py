"""The keys of a cluster in time, and what of them passes from a leader to its followers."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from enclave_server.keys.ring import KEY_IDS, KeyRing, Schedule
from enclave_server.keys.shared_ring import (
    adopt,
    advance_shared,
    first_shared_ring,
    retire_older,
    share,
    succeed,
    unlist_newest,
    without_ended,
)
from protocol.cluster_state import MAX_GENERATIONS
from protocol.errors import MalformedMessage
from protocol.slots import share_slots

SCHEDULE = Schedule(lifetime=3600, announce=300, grace=600)
NOW = 1_000_000.0
LEADER, OTHER, LATER = b"L" * 16, b"o" * 16, b"x" * 16


def ring(*ages: float) -> KeyRing:
    made = first_shared_ring(SCHEDULE, NOW, LEADER)
    for age in ages:
        made = succeed(made, SCHEDULE, NOW + age, LEADER, [LEADER, OTHER], early=True)
    return made


def slots(held: KeyRing) -> list[range]:
    return [each.holding.slots for each in held.generations if each.holding is not None]


def test_a_follower_owns_what_was_given_to_it_and_nothing_of_before() -> None:
    adopted = adopt(KeyRing(), share(ring(10)), OTHER)
    assert slots(adopted) == [range(128, 256), range(0)]
    assert slots(ring(10)) == [range(128), range(256)]


def test_keys_and_times_arrive_as_they_were() -> None:
    mine, theirs = ring(10), adopt(KeyRing(), share(ring(10)), OTHER)
    assert [each.retires for each in theirs.generations] == [
        each.retires for each in mine.generations
    ]
    shared = share(mine)
    assert share(adopt(KeyRing(), shared, OTHER)) == shared


def test_who_joins_again_keeps_what_it_holds_and_gains_nothing() -> None:
    shared = share(ring(10))
    held = adopt(KeyRing(), shared, OTHER)
    assert adopt(held, shared, LATER) is held
    gone = KeyRing(held.generations[1:])
    assert slots(adopt(gone, shared, LATER)) == [range(0), range(0)]


def test_a_key_never_ends_later_than_it_would_have() -> None:
    shared = share(ring(10))
    held = adopt(KeyRing(), shared, OTHER)
    longer = [replace(each, ends=each.ends + 1000) for each in shared]
    shorter = [replace(each, ends=each.ends - 1000) for each in shared]
    assert adopt(held, longer, OTHER).generations == held.generations
    ends = [each.ends for each in adopt(held, shorter, OTHER).generations]
    assert ends == [each.ends - 1 for each in held.generations]


def test_a_table_that_changes_is_refused() -> None:
    shared = share(ring(10))
    held = adopt(KeyRing(), shared, OTHER)
    changed = replace(shared[0], table=share_slots([OTHER]))
    with pytest.raises(MalformedMessage, match="table"):
        adopt(held, [changed, *shared[1:]], OTHER)


def test_keys_that_only_the_follower_has_stay_unlisted() -> None:
    held, others = ring(10), share(first_shared_ring(SCHEDULE, NOW, OTHER))
    merged = adopt(held, others, LATER)
    assert merged.generations[0].first.private_key == others[0].keys[0].private_key
    assert {each.first.config for each in held.generations[:1]} <= {
        each.first.config for each in merged.generations
    } or held.generations[0].first.key_id in {others[0].key_id, (others[0].key_id + 1) % KEY_IDS}
    assert all(each.retires == 0 for each in merged.generations[1:])


def test_a_key_whose_identifier_is_taken_is_dropped() -> None:
    held = ring(10)
    (first,) = share(first_shared_ring(SCHEDULE, NOW, OTHER))
    clash = replace(first, key_id=held.generations[0].first.key_id)
    assert len(adopt(held, [clash], LATER).generations) == 2


def test_a_ring_is_no_longer_than_a_state() -> None:
    full = ring(*range(1, 2 * MAX_GENERATIONS))
    assert len(full.generations) == MAX_GENERATIONS
    identifiers = [key.key_id for each in full.generations for key in each.keys]
    assert len(set(identifiers)) == len(identifiers)
    merged = adopt(full, share(first_shared_ring(SCHEDULE, NOW, OTHER)), LATER)
    assert len(merged.generations) == MAX_GENERATIONS


def test_a_successor_comes_when_it_is_due_for_all_who_are_there() -> None:
    start = first_shared_ring(SCHEDULE, NOW, LEADER)
    due = start.generations[0].retires - SCHEDULE.announce
    assert advance_shared(start, SCHEDULE, due - 1, LEADER, [LEADER, OTHER]) is start
    newest, _ = advance_shared(start, SCHEDULE, due, LEADER, [LEADER, OTHER]).generations
    assert newest.retires == start.generations[0].retires + SCHEDULE.lifetime
    assert newest.holding is not None
    assert newest.holding.table.owners == {LEADER, OTHER}
    assert not newest.early


def test_what_ended_is_dropped_and_the_newest_stays() -> None:
    held = ring(10)
    ended = max(each.ends for each in held.generations)
    assert without_ended(held, NOW) is held
    assert without_ended(held, ended).generations == held.generations[:1]


def test_older_keys_retire_and_end_soon_and_never_later() -> None:
    held = ring(10, 20)
    moment = NOW + 100
    newest, *others = retire_older(held, SCHEDULE, moment).generations
    assert newest == held.generations[0]
    assert [(each.retires, each.ends) for each in others] == [(moment, moment + 600)] * 2
    again = retire_older(KeyRing((newest, *others)), SCHEDULE, moment + 50)
    assert [each.ends for each in again.generations[1:]] == [moment + 600] * 2


def test_a_key_that_retires_at_this_moment_keeps_its_end() -> None:
    held = ring(10)
    newest, older = held.generations
    older = replace(older, retires=NOW + 100, ends=NOW + 9000)
    held = KeyRing((newest, older))
    assert retire_older(held, SCHEDULE, NOW + 100) == held
    assert retire_older(held, SCHEDULE, NOW + 99.999).generations[1].ends == NOW + 699.999


def test_a_newest_key_that_is_passed_over_is_not_listed() -> None:
    held = unlist_newest(ring(10))
    assert held.listed(NOW) == held.generations[1:]


def test_keys_without_a_table_are_not_shared() -> None:
    (only,) = first_shared_ring(SCHEDULE, NOW, LEADER).generations
    with pytest.raises(ValueError, match="table"):
        share(KeyRing((replace(only, holding=None),)))


def test_identifiers_are_free_ones_and_go_around() -> None:
    offered: list[Sequence[int]] = []

    def choose(last: Sequence[int]) -> int:
        offered.append(last)
        return last[-1]

    def made(held: KeyRing) -> KeyRing:
        return succeed(held, SCHEDULE, NOW, LEADER, [LEADER], early=False, choose=choose)

    first = made(KeyRing())
    assert [key.key_id for key in first.generations[0].keys] == [255, 0]
    second = made(first)
    assert [key.key_id for key in second.generations[0].keys] == [253, 254]
    assert list(offered[0]) == list(range(256))
    assert list(offered[1]) == list(range(1, 254))


def test_times_are_whole_milliseconds_everywhere() -> None:
    (only,) = first_shared_ring(SCHEDULE, 1000.0004, LEADER).generations
    assert (only.retires, only.ends) == (4600.0, 5200.0)
    (rounded,) = first_shared_ring(SCHEDULE, 1000.0006, LEADER).generations
    assert (rounded.retires, rounded.ends) == (4600.001, 5200.001)


def test_a_key_ends_with_its_time() -> None:
    held = ring(10)
    older = held.generations[1].ends
    assert without_ended(held, older - 0.001) is held
    assert without_ended(held, older).generations == held.generations[:1]


def test_a_leader_that_slept_makes_keys_for_the_time_after() -> None:
    late = NOW + 10 * SCHEDULE.lifetime
    (newest, *_) = advance_shared(ring(), SCHEDULE, late, LEADER, [LEADER]).generations
    assert newest.retires == late + SCHEDULE.lifetime


def test_a_key_that_has_no_table_here_is_another_than_one_that_has() -> None:
    shared = share(ring())
    (only,) = adopt(KeyRing(), shared, OTHER).generations
    with pytest.raises(MalformedMessage, match="table"):
        adopt(KeyRing((replace(only, holding=None),)), shared, OTHER)


def test_early_keys_are_known_as_such() -> None:
    assert [each.early for each in adopt(KeyRing(), share(ring(10)), OTHER).generations] == [
        True,
        False,
    ]
