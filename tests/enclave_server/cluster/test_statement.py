"""What a member says of itself."""

import json
from dataclasses import replace

from enclave_server.cluster.statement import Company, make_standing, unowned_slots
from enclave_server.gateway.standing import Ownership
from enclave_server.keys.ring import KeyRing, Schedule
from enclave_server.keys.shared_ring import first_shared_ring, succeed

ME, OTHER = b"a" * 16, b"b" * 16
SCHEDULE = Schedule(3600, 300, 600)
FIRST = first_shared_ring(SCHEDULE, 0, ME)
RING = succeed(FIRST, SCHEDULE, 0, ME, [ME, OTHER], early=True)


def test_slots_are_own_others_or_nobodys() -> None:
    key = RING.generations[0].first.key_id
    both = make_standing(RING, Company(ME, ME, frozenset({ME, OTHER}), 2))
    assert both.ownership[key] == bytes([Ownership.OWN] * 128 + [Ownership.OTHERS] * 128)
    alone = make_standing(RING, Company(ME, ME, frozenset({ME}), 2))
    assert alone.ownership[key] == bytes([Ownership.OWN] * 128 + [Ownership.NOBODYS] * 128)
    assert unowned_slots(RING, {ME}) == 128
    assert unowned_slots(RING, {ME, OTHER}) == 0


def test_the_statement_has_the_ranges_of_every_key() -> None:
    statement = json.loads(make_standing(RING, Company(ME, None, frozenset({ME}), 2)).statement)
    newest, oldest = RING.generations
    assert statement == {
        "member": ME.hex(),
        "leader": None,
        "members": [ME.hex()],
        "turns": 2,
        "unowned": 128,
        "slots": {str(key.key_id): [[0, 127]] for key in newest.keys}
        | {str(key.key_id): [[0, 255]] for key in oldest.keys},
    }


def test_who_leads_is_named() -> None:
    statement = json.loads(
        make_standing(FIRST, Company(ME, OTHER, frozenset({OTHER, ME}), 3)).statement
    )
    assert (statement["leader"], statement["members"]) == (OTHER.hex(), [ME.hex(), OTHER.hex()])


def test_keys_without_a_table_are_all_its_own_and_no_router_is_told_of_them() -> None:
    """As those of an enclave are that is in no cluster."""
    alone = KeyRing((replace(FIRST.generations[0], holding=None),))
    standing = make_standing(alone, Company(ME, ME, frozenset({ME}), 1))
    assert set(standing.ownership.values()) == {bytes(256)}
    assert unowned_slots(alone, set()) == 0
    assert set(map(tuple, json.loads(standing.statement)["slots"].values())) == {()}
