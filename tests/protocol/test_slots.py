"""Places of sealed requests, and tables of owners."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encapsulation import GatewayKey, encapsulate_request
from protocol.errors import MalformedMessage
from protocol.kem import KEMS, Kem
from protocol.slots import (
    MAX_OWNERS,
    OWNER_BYTES,
    SLOTS,
    Place,
    Run,
    SlotTable,
    place_of,
    share_slots,
)

MEMBERS = st.sets(st.binary(min_size=OWNER_BYTES, max_size=OWNER_BYTES), min_size=1, max_size=9)
ONE, TWO = b"1" * OWNER_BYTES, b"2" * OWNER_BYTES


@pytest.mark.parametrize("kem", KEMS.values(), ids=lambda kem: kem.name)
def test_the_place_is_in_the_same_octets_for_every_mechanism(kem: Kem) -> None:
    key = GatewayKey.generate(9, kem)
    sealed, _ = encapsulate_request(key.config, b"hello")
    digest = hashlib.sha256(sealed[7:39]).digest()
    assert place_of(sealed) == Place(9, digest[0])
    assert place_of(sealed[:39]) == place_of(sealed)
    assert place_of(sealed[:38]) is None
    assert place_of(b"") is None


@given(MEMBERS)
def test_each_slot_has_one_owner_and_shares_are_even(members: set[bytes]) -> None:
    table = share_slots(members)
    assert table.owners == members
    sizes = [run.last - run.first + 1 for run in table.runs]
    assert sum(sizes) == SLOTS
    assert max(sizes) - min(sizes) <= 1
    assert SlotTable.decode(table.encode()) == table
    for member in members:
        assert [run.owner for run in table.owned_by(member)] == [member]
    assert share_slots(sorted(members, reverse=True)) == table


def test_as_many_members_as_there_may_be() -> None:
    members = [bytes([at]) * OWNER_BYTES for at in range(MAX_OWNERS)]
    assert share_slots(members).owners == set(members)
    with pytest.raises(ValueError, match="members"):
        share_slots([*members, b"x" * OWNER_BYTES])
    with pytest.raises(ValueError, match="members"):
        share_slots([])
    with pytest.raises(ValueError, match="two runs"):
        share_slots([ONE, ONE])


@pytest.mark.parametrize(
    "runs",
    [
        (),
        (Run(ONE, 0, 254),),
        (Run(ONE, 1, 255),),
        (Run(ONE, 0, 99), Run(TWO, 101, 255)),
        (Run(ONE, 0, 100), Run(TWO, 100, 255)),
        (Run(ONE, 0, 100), Run(ONE, 101, 255)),
        (Run(ONE[1:], 0, 255),),
        (Run(ONE, 0, 256),),
        (Run(ONE, 0, -1), Run(TWO, 0, 255)),
    ],
)
def test_a_table_with_a_gap_or_an_overlap_is_none(runs: tuple[Run, ...]) -> None:
    with pytest.raises(ValueError, match="owner"):
        SlotTable(runs)


def test_every_cut_of_a_table_is_refused() -> None:
    encoded = share_slots([ONE, TWO]).encode()
    for size in range(len(encoded)):
        with pytest.raises(MalformedMessage):
            SlotTable.decode(encoded[:size])
    with pytest.raises(MalformedMessage):
        SlotTable.decode(encoded + b"\0")


def test_a_table_of_one_owner_too_many_is_none() -> None:
    owners = [bytes([at]) * OWNER_BYTES for at in range(MAX_OWNERS + 1)]
    runs = [Run(owner, at, at) for at, owner in enumerate(owners)]
    with pytest.raises(ValueError, match="too many owners"):
        SlotTable((*runs[:-1], Run(owners[-1], MAX_OWNERS, SLOTS - 1)))
