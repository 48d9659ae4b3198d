"""Tests of the life of keys, by a clock that the tests set."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.keys.attester import Attester
from enclave_server.keys.ring import (
    KeyRing,
    KeySet,
    Schedule,
    advance,
    encode_listed,
    first_ring,
    key_set,
    next_change,
    publish,
)
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.encapsulation import GatewayKey
from protocol.signature import SigningKeys

DAY = Schedule(lifetime=24 * 3600, announce=3600, grace=600)
START = 1_800_000_000.0
SIGNING_KEYS = SigningKeys.generate()
ATTESTER = Attester(SimulatedSecurityModule(), SIGNING_KEYS)


def ids(ring: KeyRing) -> list[int]:
    return [timed.key.key_id for timed in ring.keys]


def listed_ids(ring: KeyRing, now: float) -> list[int]:
    return [timed.key.key_id for timed in ring.listed(now)]


def choose(key_id: int) -> Callable[[int], int]:
    return lambda count: key_id


def test_the_times_of_a_day() -> None:
    ring = first_ring(DAY, START, choose=choose(7))
    for hour, alive, listed in [
        (0, [7], [7]),
        (22.99, [7], [7]),
        (23, [8, 7], [8, 7]),
        (23.99, [8, 7], [8, 7]),
        (24, [8, 7], [8]),
        (24 + 599 / 3600, [8, 7], [8]),
        (24 + 600 / 3600, [8], [8]),
        (47, [9, 8], [9, 8]),
        (48, [9, 8], [9]),
        (48.5, [9], [9]),
    ]:
        now = START + hour * 3600
        ring = advance(ring, DAY, now)
        assert (ids(ring), listed_ids(ring, now)) == (alive, listed), hour


def test_nothing_due_is_the_same_ring() -> None:
    ring = first_ring(DAY, START)
    assert advance(ring, DAY, START + 1) is ring


def test_identifiers_wrap_around() -> None:
    ring = first_ring(DAY, START, choose=choose(255))
    assert ids(advance(ring, DAY, START + 23 * 3600)) == [0, 255]


def test_first_identifiers_are_random() -> None:
    assert len({ids(first_ring(DAY, START))[0] for _ in range(40)}) > 5


def test_a_clock_that_jumped_leaves_one_new_key() -> None:
    ring = first_ring(DAY, START, choose=choose(1))
    later = START + 30 * 24 * 3600
    ring = advance(ring, DAY, later)
    assert ids(ring) == [2]
    assert ring.keys[0].retires == later + DAY.lifetime


@given(
    st.floats(2, 1e6),
    st.floats(0.01, 0.99),
    st.floats(0, 1),
    st.lists(st.floats(0, 3), max_size=30),
)
def test_at_all_times(lifetime: float, announce: float, grace: float, steps: list[float]) -> None:
    schedule = Schedule(lifetime, lifetime * announce, lifetime * grace)
    now = START
    secret = GatewayKey(0, bytes(32)).private_key

    def make(key_id: int) -> GatewayKey:
        return GatewayKey(key_id, secret)

    ring = first_ring(schedule, now, make)
    for step in steps:
        now += step * lifetime
        ring = advance(ring, schedule, now, make)
        assert 1 <= len(ring.listed(now)) <= 2
        assert len(ring.keys) <= 4
        assert len(set(ids(ring))) == len(ring.keys)
        assert all(now < timed.ends for timed in ring.keys)
        assert next_change(ring, schedule, now) > now
        assert ring.keys[0] == ring.listed(now)[0]


def test_next_change_is_when_something_changes() -> None:
    ring = first_ring(DAY, START)
    assert next_change(ring, DAY, START) == START + 23 * 3600
    ring = advance(ring, DAY, START + 23 * 3600)
    assert next_change(ring, DAY, START + 23 * 3600) == START + 24 * 3600
    assert next_change(ring, DAY, START + 24 * 3600) == START + 24 * 3600 + 600


def made_key_set(now: float = START) -> KeySet:
    ring = advance(first_ring(DAY, START, choose=choose(7)), DAY, now)
    listed = ring.listed(now)
    publication = publish(listed, ATTESTER.attest(encode_listed(listed)), now + 1e9)
    return key_set(ring, publication, SIGNING_KEYS)


def test_a_publication_expires_with_the_first_of_its_keys_to_retire() -> None:
    assert made_key_set().expires == START + 24 * 3600
    assert made_key_set(START + 23.5 * 3600).expires == START + 24 * 3600


def test_a_publication_expires_with_the_certificate() -> None:
    listed = first_ring(DAY, START).listed(START)
    publication = publish(listed, ATTESTER.attest(encode_listed(listed)), START + 5)
    assert publication.expires == START + 5


def test_evidence_for_other_keys_is_not_published() -> None:
    listed = first_ring(DAY, START).listed(START)
    others = first_ring(DAY, START).listed(START)
    with pytest.raises(ValueError, match="other keys"):
        publish(listed, ATTESTER.attest(encode_listed(others)), START + 5)


def test_keys_that_ended_do_not_open() -> None:
    keys = made_key_set(START + 23 * 3600)
    new, old = keys.gateway_keys
    assert keys.opening(START + 24 * 3600) == (new, old)
    assert keys.opening(keys.ends[1]) == (new,)
    assert keys.opening(keys.ends[0]) == ()
    assert keys.end_of(old.key_id) == START + 24 * 3600 + 600
    assert keys.end_of(99) == 0


def test_no_secret_is_printed() -> None:
    keys = made_key_set()
    text = repr(keys)
    assert repr(keys.gateway_keys[0].private_key) not in text
    assert "RSA" not in text
