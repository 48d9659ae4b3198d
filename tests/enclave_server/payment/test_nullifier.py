"""By what a spent token is known."""

import hashlib
import hmac
from dataclasses import replace

from enclave_server.payment.nullifier import BYTES, LABEL, nullifier
from tests.support.minting import Mint, epochs_around

TOKEN = Mint(epochs_around(0x6000_0000, 1)).token()


def test_it_is_an_hmac_of_what_the_issuer_signed() -> None:
    expected = hmac.new(LABEL, TOKEN.encode()[:98], hashlib.sha256).digest()
    assert nullifier(LABEL, TOKEN) == expected
    assert len(expected) == BYTES


def test_another_signature_of_the_same_token_is_the_same() -> None:
    other = replace(TOKEN, authenticator=bytes(256))
    assert nullifier(LABEL, other) == nullifier(LABEL, TOKEN)


def test_all_else_makes_another() -> None:
    others = [
        nullifier(b"another key of the administrator's", TOKEN),
        nullifier(LABEL, replace(TOKEN, nonce=bytes(32))),
        nullifier(LABEL, replace(TOKEN, challenge_digest=bytes(32))),
        nullifier(LABEL, replace(TOKEN, token_key_id=bytes(32))),
    ]
    assert len({nullifier(LABEL, TOKEN), *others}) == 5
