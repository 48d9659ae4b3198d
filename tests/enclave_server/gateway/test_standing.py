"""Whose a sealed request is, by its first 39 octets."""

import hashlib

from enclave_server.gateway.standing import Ownership, Standing

BODY = b"\x05" + bytes(6) + b"e" * 32
SLOT = hashlib.sha256(b"e" * 32).digest()[0]


def standing(ownership: Ownership) -> Standing:
    slots = bytearray([Ownership.OTHERS] * 256)
    slots[SLOT] = ownership
    return Standing({5: bytes(slots)}, b"{}")


def test_a_request_is_whose_its_slot_is() -> None:
    for ownership in Ownership:
        assert standing(ownership).of(BODY) is ownership
        assert standing(ownership).of(BODY + b"more") is ownership


def test_whose_a_slot_is_takes_one_octet_and_none_says_it_is_this_enclaves() -> None:
    assert [bytes((each,)) for each in Ownership] == [b"\0", b"\1", b"\2"]
    assert Ownership(bytes(1)[0]) is Ownership.OWN


def test_what_no_key_could_open_is_left_to_who_opens() -> None:
    nobodys = standing(Ownership.NOBODYS)
    assert nobodys.of(BODY[:38]) is Ownership.OWN
    assert nobodys.of(b"") is Ownership.OWN
    assert nobodys.of(b"\x06" + BODY[1:]) is Ownership.OWN
