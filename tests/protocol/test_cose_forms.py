"""COSE_Sign1: what is signed verifies, what is not of exactly this form is malformed."""

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature

from protocol.cose import (
    ES384,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    PROTECTED,
    TAG_COSE_SIGN1,
    CoseSign1,
    sign,
)
from protocol.errors import MalformedMessage
from tests.support.attestation_samples import key

PAYLOAD = b"payload"
SIGNATURE = bytes(96)


def message(
    protected: object = PROTECTED,
    unprotected: object = None,
    payload: object = PAYLOAD,
    signature: object = SIGNATURE,
) -> bytes:
    return cbor2.dumps([protected, unprotected or {}, payload, signature])


def test_what_is_signed_is_read_and_verifies() -> None:
    signed = sign(key("signer"), PAYLOAD)
    for data in (signed.encode(), TAG_COSE_SIGN1 + signed.encode()):
        read = CoseSign1.decode(data)
        assert read == signed
        assert read.payload == PAYLOAD
        read.verify(key("signer").public_key())


def test_the_protected_header_is_that_of_es384() -> None:
    assert ES384 == -35
    assert cbor2.loads(PROTECTED) == {1: ES384}


@pytest.mark.parametrize("part", ["protected", "payload", "signature"])
def test_each_part_is_signed(part: str) -> None:
    signed = sign(key("signer"), PAYLOAD)
    parts = {name: getattr(signed, name) for name in ("protected", "payload", "signature")}
    parts[part] = parts[part][:-1] + bytes([parts[part][-1] ^ 1])
    with pytest.raises(InvalidSignature):
        CoseSign1(**parts).verify(key("signer").public_key())


def test_another_key_does_not_verify() -> None:
    with pytest.raises(InvalidSignature):
        sign(key("signer"), PAYLOAD).verify(key("another").public_key())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        cbor2.dumps({}),
        cbor2.dumps([PROTECTED, {}, PAYLOAD]),
        cbor2.dumps([PROTECTED, {}, PAYLOAD, SIGNATURE, b""]),
        message(protected=cbor2.dumps({1: -7})),
        message(protected=cbor2.dumps({1: ES384, 4: b"key"})),
        message(protected=b""),
        message(protected={1: ES384}),
        message(unprotected={4: b"key"}),
        cbor2.dumps([PROTECTED, b"", PAYLOAD, SIGNATURE]),
        message(payload=b""),
        message(payload="text"),
        message(payload=bytes(MAX_PAYLOAD_BYTES + 1)),
        message(signature=bytes(95)),
        message(signature=bytes(97)),
        message(signature="text"),
        message() + b"\0",
        TAG_COSE_SIGN1 + TAG_COSE_SIGN1 + message(),
    ],
)
def test_what_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        CoseSign1.decode(data)


@pytest.mark.parametrize("size", [1, MAX_PAYLOAD_BYTES])
def test_the_smallest_and_the_largest_payload(size: int) -> None:
    largest = TAG_COSE_SIGN1 + message(payload=bytes(size))
    assert len(CoseSign1.decode(largest).payload) == size
    assert len(largest) <= MAX_MESSAGE_BYTES


def test_a_larger_message_is_not_even_read() -> None:
    with pytest.raises(MalformedMessage, match="larger than any"):
        CoseSign1.decode(bytes(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(MalformedMessage) as caught:
        CoseSign1.decode(bytes(MAX_MESSAGE_BYTES))
    assert "larger" not in str(caught.value)
