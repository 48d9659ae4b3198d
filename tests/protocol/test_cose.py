"""COSE_Sign1 with ES384: one header, one algorithm, signatures in either half of the group."""

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st

from protocol import cose
from protocol.cose import CoseSign1
from protocol.errors import MalformedMessage
from tests.support.attestation_samples import key

ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)  # of P-384
KEY = key("leaf")


@given(st.binary(min_size=1, max_size=200))
def test_what_is_signed_is_read_and_verifies(payload: bytes) -> None:
    signed = cose.sign(KEY, payload)
    read = CoseSign1.decode(signed.encode())
    assert read == signed == CoseSign1.decode(cose.TAG_COSE_SIGN1 + signed.encode())
    read.verify(KEY.public_key())
    with pytest.raises(InvalidSignature):
        read.verify(key("zone").public_key())
    with pytest.raises(InvalidSignature):
        CoseSign1(read.protected, payload + b"x", read.signature).verify(KEY.public_key())


def test_the_other_s_is_as_good() -> None:
    signed = cose.sign(KEY, b"payload")
    r, s = signed.signature[:48], int.from_bytes(signed.signature[48:], "big")
    other = CoseSign1(signed.protected, b"payload", r + (ORDER - s).to_bytes(48, "big"))
    other.verify(KEY.public_key())


ES384, GOOD = cbor2.dumps({1: -35}), bytes(96)
WRONG = {
    "no array": {},
    "three parts": [ES384, {}, b"x"],
    "five parts": [ES384, {}, b"x", GOOD, b""],
    "a header that is not protected": [ES384, {4: b"key"}, b"x", GOOD],
    "another algorithm": [cbor2.dumps({1: -7}), {}, b"x", GOOD],
    "one more protected header": [cbor2.dumps({1: -35, 2: [1]}), {}, b"x", GOOD],
    "no protected header": [b"", {}, b"x", GOOD],
    "no payload": [ES384, {}, None, GOOD],
    "an empty payload": [ES384, {}, b"", GOOD],
    "a payload that is too large": [ES384, {}, bytes(cose.MAX_PAYLOAD_BYTES + 1), GOOD],
    "a short signature": [ES384, {}, b"x", bytes(95)],
    "a long signature": [ES384, {}, b"x", bytes(97)],
}


@pytest.mark.parametrize("parts", WRONG.values(), ids=WRONG)
def test_what_is_no_message(parts: object) -> None:
    with pytest.raises(MalformedMessage):
        CoseSign1.decode(cbor2.dumps(parts))


def test_the_largest_payload() -> None:
    signed = cose.sign(KEY, bytes(cose.MAX_PAYLOAD_BYTES))
    assert CoseSign1.decode(cose.TAG_COSE_SIGN1 + signed.encode()) == signed
    with pytest.raises(MalformedMessage, match="larger"):
        CoseSign1.decode(bytes(cose.MAX_MESSAGE_BYTES + 1))


def test_no_message_that_is_read_is_larger_than_the_largest() -> None:
    """Tagged, with the largest payload, and with an array and maps that tell no length."""
    payload, ends = bytes(cose.MAX_PAYLOAD_BYTES), b"\xff"
    protected = cbor2.dumps(b"\xbf" + ES384[1:] + ends)
    parts = protected + b"\xbf" + ends + cbor2.dumps(payload) + cbor2.dumps(GOOD)
    largest = cose.TAG_COSE_SIGN1 + b"\x9f" + parts + ends
    assert CoseSign1.decode(largest).payload == payload
    assert len(largest) == cose.MAX_MESSAGE_BYTES


@given(st.binary(max_size=60))
def test_any_octets_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        CoseSign1.decode(data)
