"""X-Wing by its vectors at both ends, and beside the HPKE that `cryptography` has itself."""

import hashlib
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke as oracle
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import hpke, kem
from protocol.errors import KeyRejected
from protocol.hpke import Aead, Kdf
from protocol.kem import X_WING
from tests.support.vector_files import load
from tests.support.x_wing import without_x_wing

__all__ = ["without_x_wing"]

KEM_VECTORS = load("xwing.json")["kem"]["vectors"]
HPKE_VECTORS = load("xwing.json")["hpke"]["vectors"]
WHOLE_VECTORS = [vector for vector in HPKE_VECTORS if vector["kdf_id"] == Kdf.HKDF_SHA256]
ML_KEM_PUBLIC, ML_KEM_SENT = 1184, 1088
SEED = bytes(range(32))
KEY = X_WING.load_private_key(SEED)


def octets(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


# Vectors


class FixedMlKem:
    """ML-KEM as a vector has it: `cryptography` takes nobody's randomness for it."""

    def __init__(self, secret: bytes, sent: bytes) -> None:
        self.secret, self.sent = secret, sent

    def from_public_bytes(self, data: bytes) -> "FixedMlKem":
        MLKEM768PublicKey.from_public_bytes(data)
        return self

    def encapsulate(self) -> tuple[bytes, bytes]:
        return self.secret, self.sent


def with_randomness(
    monkeypatch: pytest.MonkeyPatch, seed: bytes, sent: bytes, randomness: bytes
) -> bytes:
    """Have the next encapsulation be that of a vector; return the ephemeral key to give to it."""
    secret = ml_kem_of(seed).decapsulate(sent[:ML_KEM_SENT])
    monkeypatch.setattr(kem, "MLKEM768PublicKey", FixedMlKem(secret, sent[:ML_KEM_SENT]))
    return randomness[32:]


def ml_kem_of(seed: bytes) -> MLKEM768PrivateKey:
    return MLKEM768PrivateKey.from_seed_bytes(hashlib.shake_256(seed).digest(96)[:64])


def test_every_vector_is_run() -> None:
    assert (len(KEM_VECTORS), len(HPKE_VECTORS), len(WHOLE_VECTORS)) == (3, 2, 1)
    assert [len(WHOLE_VECTORS[0][name]) for name in ("encryptions", "exports")] == [10, 5]


@pytest.mark.parametrize("vector", KEM_VECTORS, ids=lambda vector: vector["seed"][:8])
def test_vectors_of_the_mechanism(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seed, public, sent, shared = octets(vector, "sk", "pk", "ct", "ss")
    assert vector["seed"] == vector["sk"]
    key = X_WING.load_private_key(seed)
    assert key.public_key == public
    assert key.decapsulate(sent) == shared
    ephemeral = with_randomness(monkeypatch, seed, sent, bytes.fromhex(vector["eseed"]))
    assert X_WING.encapsulate(public, ephemeral) == (shared, sent)


@pytest.mark.parametrize("vector", HPKE_VECTORS, ids=lambda vector: vector["suite_id"])
def test_vectors_of_hpke_s_mechanism(
    vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any key derivation function: the shared secret comes before it."""
    seed, public, sent, shared = octets(vector, "skRm", "pkRm", "enc", "shared_secret")
    assert (vector["mode"], vector["kem_id"]) == (0, X_WING.code)
    key = X_WING.load_private_key(seed)
    assert key.public_key == public
    assert key.decapsulate(sent) == shared
    ephemeral = with_randomness(monkeypatch, seed, sent, bytes.fromhex(vector["ikmE"]))
    assert X_WING.encapsulate(public, ephemeral) == (shared, sent)


@pytest.mark.parametrize("vector", WHOLE_VECTORS, ids=lambda vector: vector["suite_id"])
def test_vectors_of_hpke_at_both_ends(
    vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed, public, sent, info = octets(vector, "skRm", "pkRm", "enc", "info")
    kdf, aead = Kdf(vector["kdf_id"]), Aead(vector["aead_id"])
    assert vector["suite_id"] == b"HPKE".hex() + f"{X_WING.code:04x}{kdf:04x}{aead:04x}"
    ephemeral = with_randomness(monkeypatch, seed, sent, bytes.fromhex(vector["ikmE"]))
    sender = hpke.setup_sender(X_WING, public, kdf, aead, info, ephemeral=ephemeral)
    key = X_WING.load_private_key(seed)
    recipient = hpke.setup_recipient(X_WING, sent, key, kdf, aead, info)
    assert sender.enc == sent
    for item in vector["encryptions"]:
        plaintext, aad, sealed = octets(item, "pt", "aad", "ct")
        assert sender.seal(plaintext, aad) == sealed
        assert recipient.open(sealed, aad) == plaintext
    for item in vector["exports"]:
        (context,) = octets(item, "exporter_context")
        for end in (sender, recipient):
            assert end.export(context, item["L"]).hex() == item["exported_value"]


# `cryptography` has X-Wing in an HPKE of its own, which seals one message and exports nothing.

SUITES = {
    Aead.AES_128_GCM: oracle.AEAD.AES_128_GCM,
    Aead.AES_256_GCM: oracle.AEAD.AES_256_GCM,
    Aead.CHACHA20_POLY1305: oracle.AEAD.CHACHA20_POLY1305,
}
seeds = st.binary(min_size=32, max_size=32)


def oracle_suite(aead: Aead) -> oracle.Suite:
    return oracle.Suite(oracle.KEM.MLKEM768_X25519, oracle.KDF.HKDF_SHA256, SUITES[aead])


def oracle_key(seed: bytes) -> oracle.MLKEM768X25519PrivateKey:
    x25519 = hashlib.shake_256(seed).digest(96)[64:]
    return oracle.MLKEM768X25519PrivateKey(
        ml_kem_of(seed), X25519PrivateKey.from_private_bytes(x25519)
    )


@given(seeds, st.sampled_from(Aead), st.binary(max_size=40), st.binary(max_size=100))
def test_opens_what_cryptography_seals_and_the_reverse(
    seed: bytes, aead: Aead, info: bytes, plaintext: bytes
) -> None:
    key = X_WING.load_private_key(seed)
    public = oracle.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(key.public_key[:ML_KEM_PUBLIC]),
        X25519PublicKey.from_public_bytes(key.public_key[ML_KEM_PUBLIC:]),
    )
    sealed = oracle_suite(aead).encrypt(plaintext, public, info)
    sent, rest = sealed[: X_WING.enc_size], sealed[X_WING.enc_size :]
    recipient = hpke.setup_recipient(X_WING, sent, key, Kdf.HKDF_SHA256, aead, info)
    assert recipient.open(rest) == plaintext
    sender = hpke.setup_sender(X_WING, key.public_key, Kdf.HKDF_SHA256, aead, info)
    sealed = sender.enc + sender.seal(plaintext)
    assert oracle_suite(aead).decrypt(sealed, oracle_key(seed), info) == plaintext


def test_both_refuse_what_was_altered() -> None:
    sender = hpke.setup_sender(X_WING, KEY.public_key, Kdf.HKDF_SHA256, Aead.AES_128_GCM, b"")
    rest = sender.seal(b"message")
    for sent in (bytes([sender.enc[0] ^ 1]) + sender.enc[1:], sender.enc[:-32] + bytes(32)):
        with pytest.raises((InvalidTag, ValueError)):
            oracle_suite(Aead.AES_128_GCM).decrypt(sent + rest, oracle_key(SEED))
        with pytest.raises(KeyRejected):
            hpke.setup_recipient(X_WING, sent, KEY, Kdf.HKDF_SHA256, Aead.AES_128_GCM, b"").open(
                rest
            )


# What only the mechanism knows


@pytest.mark.parametrize("size", [0, 1, 32, 1088, 1119, 1121, 1216])
def test_what_was_sent_has_one_size(size: int) -> None:
    with pytest.raises(KeyRejected):
        KEY.decapsulate(bytes(size))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_private_key_has_one_size(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        X_WING.load_private_key(bytes(size))


def test_an_openssl_without_ml_kem_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        @staticmethod
        def from_public_bytes(data: bytes) -> MLKEM768PublicKey:
            raise UnsupportedAlgorithm("ML-KEM-768 is not supported by this backend.")

    monkeypatch.setattr(kem, "MLKEM768PublicKey", Missing)
    with pytest.raises(KeyRejected):
        X_WING.encapsulate(KEY.public_key, None)
