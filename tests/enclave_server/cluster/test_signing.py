"""Signing keys on their way."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enclave_server.cluster.signing import decode_signing_keys, encode_signing_keys
from protocol.errors import MalformedMessage
from tests.support.enclaves import signing_keys


def test_they_arrive_as_they_were() -> None:
    encoded = encode_signing_keys(signing_keys())
    assert encode_signing_keys(decode_signing_keys(*encoded)) == encoded


def test_what_is_no_key_is_refused() -> None:
    rsa, ed25519 = encode_signing_keys(signing_keys())
    for wrong in ((b"", ed25519), (rsa[:-1], ed25519), (rsa, ed25519[:-1])):
        with pytest.raises(MalformedMessage):
            decode_signing_keys(*wrong)


def test_another_kind_or_size_of_key_is_refused() -> None:
    _, ed25519 = encode_signing_keys(signing_keys())
    small = generate_private_key(65537, 1024)  # noqa: S505 (it is refused)
    for other in (small, Ed25519PrivateKey.generate()):
        encoded = other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(MalformedMessage, match="RSA"):
            decode_signing_keys(encoded, ed25519)
