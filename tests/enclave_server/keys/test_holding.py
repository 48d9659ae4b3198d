"""What is held of a generation: the slots of the identifier under which it came."""

from enclave_server.keys.holding import Holding
from protocol.slots import SLOTS, share_slots

ONE, TWO = b"1" * 16, b"2" * 16


def test_the_slots_are_those_of_the_table() -> None:
    table = share_slots([ONE, TWO])
    assert Holding(table, ONE).slots == range(128)
    assert Holding(table, TWO).slots == range(128, SLOTS)
    assert Holding(table, b"3" * 16).slots == range(0)


def test_every_slot_has_its_owner() -> None:
    assert Holding(share_slots([ONE, TWO]), ONE).owners() == (ONE,) * 128 + (TWO,) * 128
