"""Blind RSA with CIRCL, in both directions; keys are those that the specifications publish."""

import secrets

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protocol.blind_rsa import blind, blind_sign, verify
from protocol.private_token import TokenRequest, request_token
from protocol.token_challenge import TokenChallenge
from tests.interop.conftest import Drivers
from tests.interop.peers import BLIND_RSA_PEER, DriverClient
from tests.support.private_tokens import ISSUER, KEY, SIGN

COUNT = 20
DIGEST = TokenChallenge("issuer.example", "gateway.example").digest
PUBLIC = KEY.public_key
MODULUS = PUBLIC.public_numbers().n.to_bytes(256, "big")
PRIVATE = ISSUER.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def circl(drivers: Drivers) -> DriverClient:
    """The driver on CIRCL."""
    return drivers.client(BLIND_RSA_PEER.name)


def done(driver: DriverClient, do: str, **octets: bytes) -> bytes:
    """Return what the driver makes of some octets."""
    answer = driver.ask({"do": do, **{name: value.hex() for name, value in octets.items()}})
    assert "error" not in answer, answer
    return bytes.fromhex(answer["octets"])


def refuses(driver: DriverClient, do: str, **octets: bytes) -> bool:
    """Tell whether the driver refuses some octets."""
    return "error" in driver.ask({"do": do, **{name: of.hex() for name, of in octets.items()}})


def test_it_signs_what_we_blind_and_verifies_the_token(circl: DriverClient) -> None:
    for _ in range(COUNT):
        request, pending = request_token(KEY, DIGEST)
        response = done(circl, "sign", private_key=PRIVATE, message=request.blinded_message)
        assert response == request.answer(KEY, SIGN)
        token = pending.finalize(response)
        signed = {"message": token.token_input, "signature": token.authenticator}
        done(circl, "verify", modulus=MODULUS, **signed)


def test_we_sign_what_it_blinds_and_verify_its_signature(circl: DriverClient) -> None:
    for size in range(COUNT):
        message = secrets.token_bytes(size * 5)
        blinded = done(circl, "blind", modulus=MODULUS, message=message)
        response = TokenRequest(KEY.truncated_id, blinded).answer(KEY, SIGN)
        verify(PUBLIC, message, done(circl, "finalize", signature=response))


def test_what_we_refuse_it_refuses_too(circl: DriverClient) -> None:
    for message in (MODULUS, b"\xff" * 256, bytes(255), bytes(257)):
        assert refuses(circl, "sign", private_key=PRIVATE, message=message)
    blinded, blinding = blind(PUBLIC, b"message")
    signature = blinding.finalize(blind_sign(PUBLIC, blinded, SIGN))
    for wrong in (signature[:-1], signature + b"\0", signature[:-1] + bytes([signature[-1] ^ 1])):
        assert refuses(circl, "verify", modulus=MODULUS, message=b"message", signature=wrong)
    done(circl, "blind", modulus=MODULUS, message=b"message")
    for wrong in (blind_sign(PUBLIC, blinded, SIGN), bytes(256), bytes(255)):
        assert refuses(circl, "finalize", signature=wrong)
