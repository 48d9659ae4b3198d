"""Tests of the life of keys, by a clock that the tests set."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.keys.attester import Attester
from enclave_server.keys.ring import (
    MECHANISMS,
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
from protocol.evidence import attested_config
from protocol.kem import X25519_HKDF_SHA256, X_WING, Kem
from protocol.key_config import decode_key_configs
from protocol.signature import SigningKeys

DAY = Schedule(lifetime=24 * 3600, announce=3600, grace=600)
START = 1_800_000_000.0
SIGNING_KEYS = SigningKeys.generate()
ATTESTER = Attester(SimulatedSecurityModule(), SIGNING_KEYS)


def ids(ring: KeyRing) -> list[int]:
    return [key.key_id for each in ring.generations for key in each.keys]


def listed_ids(ring: KeyRing, now: float) -> list[int]:
    return [key.key_id for each in ring.listed(now) for key in each.keys]


def choose(key_id: int) -> Callable[[int], int]:
    return lambda count: key_id


def test_the_times_of_a_day() -> None:
    ring = first_ring(DAY, START, choose=choose(7))
    for hour, alive, listed in [
        (0, [7, 8], [7, 8]),
        (22.99, [7, 8], [7, 8]),
        (23, [9, 10, 7, 8], [9, 10, 7, 8]),
        (23.99, [9, 10, 7, 8], [9, 10, 7, 8]),
        (24, [9, 10, 7, 8], [9, 10]),
        (24 + 599 / 3600, [9, 10, 7, 8], [9, 10]),
        (24 + 600 / 3600, [9, 10], [9, 10]),
        (47, [11, 12, 9, 10], [11, 12, 9, 10]),
        (48, [11, 12, 9, 10], [11, 12]),
        (48.5, [11, 12], [11, 12]),
    ]:
        now = START + hour * 3600
        ring = advance(ring, DAY, now)
        assert (ids(ring), listed_ids(ring, now)) == (alive, listed), hour


def test_nothing_due_is_the_same_ring() -> None:
    ring = first_ring(DAY, START)
    assert advance(ring, DAY, START + 1) is ring


def test_identifiers_wrap_around() -> None:
    for first, all_ids in ((255, [1, 2, 255, 0]), (254, [0, 1, 254, 255])):
        ring = first_ring(DAY, START, choose=choose(first))
        assert ids(advance(ring, DAY, START + 23 * 3600)) == all_ids


def test_a_generation_has_a_key_of_each_mechanism_x_wing_first() -> None:
    ring = advance(first_ring(DAY, START), DAY, START + 23 * 3600)
    listed = decode_key_configs(encode_listed(ring.listed(START + 23 * 3600)))
    assert [config.kem_id for config in listed] == 2 * [X_WING.code, X25519_HKDF_SHA256.code]
    assert len({config.public_key for config in listed}) == 4
    # No key is part of another: the X25519 key by itself is not the one inside of X-Wing's.
    assert not listed[0].public_key.endswith(listed[1].public_key)
    assert attested_config(listed) == listed[1]  # the newest for which a document has room


def test_first_identifiers_are_random() -> None:
    assert len({ids(first_ring(DAY, START))[0] for _ in range(40)}) > 5


def test_a_clock_that_jumped_leaves_one_new_key() -> None:
    ring = first_ring(DAY, START, choose=choose(1))
    later = START + 30 * 24 * 3600
    ring = advance(ring, DAY, later)
    assert ids(ring) == [3, 4]
    assert ring.generations[0].retires == later + DAY.lifetime


@given(
    st.floats(2, 1e6),
    st.floats(0.01, 0.99),
    st.floats(0, 1),
    st.lists(st.floats(0, 3), max_size=30),
)
def test_at_all_times(lifetime: float, announce: float, grace: float, steps: list[float]) -> None:
    schedule = Schedule(lifetime, lifetime * announce, lifetime * grace)
    now = START
    secrets = {kem.code: GatewayKey(0, bytes(32), kem=kem) for kem in MECHANISMS}

    def make(key_id: int, kem: Kem) -> GatewayKey:
        return dataclasses.replace(secrets[kem.code], key_id=key_id)

    ring = first_ring(schedule, now, make)
    for step in steps:
        now += step * lifetime
        ring = advance(ring, schedule, now, make)
        assert 1 <= len(ring.listed(now)) <= 2
        assert len(ring.generations) <= 4
        assert len(set(ids(ring))) == len(MECHANISMS) * len(ring.generations)
        assert all(now < each.ends for each in ring.generations)
        assert next_change(ring, schedule, now) > now
        assert ring.generations[0] == ring.listed(now)[0]


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
    new, old = keys.gateway_keys[:2], keys.gateway_keys[2:]
    assert keys.opening(START + 24 * 3600) == (*new, *old)
    assert keys.opening(keys.ends[-1]) == new
    assert keys.opening(keys.ends[0]) == ()
    assert {keys.end_of(key.key_id) for key in old} == {START + 24 * 3600 + 600}
    assert {keys.end_of(key.key_id) for key in new} == {START + 48 * 3600 + 600}
    assert keys.end_of(99) == 0


def test_a_key_without_an_end_is_a_fault() -> None:
    keys = made_key_set()
    cut = dataclasses.replace(keys, ends=keys.ends[:-1])
    with pytest.raises(ValueError, match="shorter"):
        cut.end_of(99)
    with pytest.raises(ValueError, match="shorter"):
        cut.opening(keys.ends[-1])


def test_no_secret_is_printed() -> None:
    keys = made_key_set()
    text = repr(keys)
    assert repr(keys.gateway_keys[0].private_key) not in text
    assert "RSA" not in text


def test_a_key_that_ended_before_an_older_one_does_not_open() -> None:
    """As in a cluster, where keys of another leader end when they would have."""
    keys = made_key_set(START + 23 * 3600)
    new, old = keys.gateway_keys[:2], keys.gateway_keys[2:]
    turned = dataclasses.replace(
        keys, gateway_keys=(*old, *new), ends=keys.ends[2:] + keys.ends[:2]
    )
    assert turned.opening(START + 24 * 3600) == (*old, *new)
    assert turned.opening(turned.ends[0]) == new
