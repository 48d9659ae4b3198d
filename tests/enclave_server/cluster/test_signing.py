"""Signing keys on their way."""

import pytest

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
