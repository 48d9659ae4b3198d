"""A mechanism of other sizes than X25519's, so that a test shows who knows them by heart.

It hides nothing: whoever has the public key can tell the secret. Its public key and what it sends
have the sizes of X-Wing's; of private key and secret no other mechanism has as much.
"""

import hashlib

import pytest

from protocol import kem
from protocol.errors import KeyRejected
from protocol.kem import Kem, PrivateKey

PRIVATE_KEY_SIZE, PUBLIC_KEY_SIZE, ENC_SIZE, SECRET_SIZE = 40, 1216, 1120, 48
REFUSED = bytes(ENC_SIZE)
"""The one encapsulated key of the right size that this mechanism refuses."""


def _shake(data: bytes, size: int) -> bytes:
    return hashlib.shake_256(data).digest(size)


def _load(private_key: bytes) -> PrivateKey:
    if len(private_key) != PRIVATE_KEY_SIZE:
        raise ValueError("a private key of another size")
    public_key = _shake(private_key, PUBLIC_KEY_SIZE)

    def decapsulate(enc: bytes) -> bytes:
        if len(enc) != ENC_SIZE or enc == REFUSED:
            raise KeyRejected("encapsulated key")
        return _shake(public_key + enc, SECRET_SIZE)

    return PrivateKey(public_key, decapsulate)


def _encapsulate(public_key: bytes, ephemeral: bytes | None) -> tuple[bytes, bytes]:
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise KeyRejected("public key")
    enc = _shake(b"fixed" if ephemeral is None else ephemeral, ENC_SIZE)
    return _shake(public_key + enc, SECRET_SIZE), enc


TOY = Kem(
    0xFFFE,
    "TOY",
    private_key_size=PRIVATE_KEY_SIZE,
    public_key_size=PUBLIC_KEY_SIZE,
    enc_size=ENC_SIZE,
    secret_size=SECRET_SIZE,
    load_private_key=_load,
    encapsulate=_encapsulate,
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Kem:
    """Have the mechanism implemented for one test, by the one entry that it takes."""
    monkeypatch.setitem(kem.KEMS, TOY.code, TOY)
    return TOY
