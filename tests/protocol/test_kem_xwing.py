"""X-Wing: its vectors at both ends, `cryptography`'s own HPKE, and what nobody honest sends."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke as oracle
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import chunked, hpke, kem
from protocol.encapsulation import (
    HEADER_SIZE,
    GatewayKey,
    decapsulate_request,
    encapsulate_request,
    preferred_config,
)
from protocol.errors import KeyRejected, MalformedMessage, ProtocolError, TruncatedMessage
from protocol.hpke import TAG_SIZE, Aead, Kdf
from protocol.kem import X25519_HKDF_SHA256, X_WING
from protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from tests.support.vector_files import load
from tests.support.x_wing import without_x_wing

__all__ = ["without_x_wing"]

KEM_VECTORS = load("xwing.json")["kem"]["vectors"]
HPKE_VECTORS = load("xwing.json")["hpke"]["vectors"]
WHOLE_VECTORS = [vector for vector in HPKE_VECTORS if vector["kdf_id"] == Kdf.HKDF_SHA256]
ML_KEM_PUBLIC, ML_KEM_SENT = 1184, 1088
PREFIX = HEADER_SIZE + X_WING.enc_size
LOW_ORDER = [bytes(32), bytes([1]) + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"]

KEY = GatewayKey(1, bytes(range(32)), kem=X_WING)
CLASSIC = GatewayKey(2, bytes(range(32)))
OTHER = GatewayKey(1, bytes(range(1, 33)), kem=X_WING)
REQUEST = b"request"


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


# What nobody honest sends: to each the one refusal of all that does not open.


def sealed(config: KeyConfig = KEY.config) -> bytes:
    return encapsulate_request(config, REQUEST)[0]


def sealed_in_chunks(config: KeyConfig = KEY.config) -> bytes:
    sealer, _ = chunked.encapsulate_request(config)
    return sealer.seal(REQUEST) + sealer.finish(b"end")


def open_whole(data: bytes) -> bytes:
    return decapsulate_request([KEY, CLASSIC], data)[0]


def open_chunked(data: bytes) -> bytes:
    opener = chunked.decapsulate_request([KEY, CLASSIC])
    return b"".join(opener.feed(data)) + opener.finish()[0]


WAYS = pytest.mark.parametrize(
    ("seal", "opened"),
    [(sealed, open_whole), (sealed_in_chunks, open_chunked)],
    ids=["whole", "chunked"],
)


def changed(data: bytes, at: int, octets: bytes) -> bytes:
    return data[:at] + octets + data[at + len(octets) :]


def altered(data: bytes, classic: bytes) -> Iterator[bytes]:
    """Yield what can be made of a message to KEY and of one to CLASSIC."""
    for at in (HEADER_SIZE, HEADER_SIZE + ML_KEM_SENT // 2, HEADER_SIZE + ML_KEM_SENT - 1):
        yield changed(data, at, bytes([data[at] ^ 1]))  # ML-KEM's part
    for point in LOW_ORDER:
        yield changed(data, HEADER_SIZE + ML_KEM_SENT, point)
    yield changed(data, PREFIX - 1, bytes([data[PREFIX - 1] ^ 1]))  # another point
    yield changed(data, HEADER_SIZE, bytes(X_WING.enc_size))
    yield changed(data, HEADER_SIZE, sealed(OTHER.config)[HEADER_SIZE:PREFIX])
    for ours, theirs in ((data, classic), (classic + bytes(PREFIX), data)):
        yield changed(ours, 0, theirs[:1])  # another key's identifier
        yield changed(ours, 1, theirs[1:3])  # another mechanism's


@WAYS
def test_altered_messages_get_one_refusal(seal: Any, opened: Any) -> None:
    data = seal()
    wrong = list(altered(data, seal(CLASSIC.config)))
    assert data not in wrong
    for each in wrong:
        with pytest.raises(KeyRejected):
            opened(each)


@WAYS
def test_one_s_length_under_the_other_s_identifiers_does_not_open(seal: Any, opened: Any) -> None:
    data, classic = seal(), seal(CLASSIC.config)
    for wrong in (changed(data, 0, classic[:3]), changed(classic + bytes(PREFIX), 0, data[:3])):
        # In chunks the length of the first is read out of what is none, and can be too long.
        refusals = KeyRejected if opened is open_whole else (KeyRejected, MalformedMessage)
        with pytest.raises(refusals):
            opened(wrong)


@given(st.integers(HEADER_SIZE, len(sealed()) - 1), st.integers(1, 255))
def test_an_octet_altered_anywhere_gets_the_same_refusal(at: int, mask: int) -> None:
    data = sealed()
    with pytest.raises(KeyRejected):
        open_whole(changed(data, at, bytes([data[at] ^ mask])))


def test_a_whole_message_cut_at_every_octet() -> None:
    data = sealed()
    for size in range(len(data)):
        is_too_short = size < PREFIX + TAG_SIZE
        with pytest.raises(MalformedMessage if is_too_short else KeyRejected):
            open_whole(data[:size])
    with pytest.raises(KeyRejected):
        open_whole(data + b"\0")


def test_a_chunked_message_cut_at_every_octet() -> None:
    data = sealed_in_chunks()
    final = data.index(b"\0", len(data) - TAG_SIZE - len(b"end") - 1)
    for size in range(len(data)):
        # Behind the mark of the final chunk its sealed octets end where the message does.
        with pytest.raises(KeyRejected if size > final else TruncatedMessage):
            open_chunked(data[:size])
    with pytest.raises(KeyRejected):
        open_chunked(data + b"\0")


@pytest.mark.parametrize("size", [0, 1, 32, 1088, 1119, 1121, 1216])
def test_what_was_sent_has_one_size(size: int) -> None:
    with pytest.raises(KeyRejected):
        KEY.secret.decapsulate(bytes(size))


def out_of_range(public_key: bytes) -> bytes:
    """Return a public key whose first coefficient is 3329, one more than there is."""
    first = 3329 | (public_key[1] >> 4) << 12
    return first.to_bytes(2, "little") + public_key[2:]


GOOD = KEY.config.public_key
WRONG_KEYS = {
    "out of range": out_of_range(GOOD),
    "all ones": b"\xff" * ML_KEM_PUBLIC + GOOD[ML_KEM_PUBLIC:],
    **{
        f"low order {number}": GOOD[:ML_KEM_PUBLIC] + point
        for number, point in enumerate(LOW_ORDER)
    },
}
WRONG_SIZES = {
    "none": b"",
    "without its end": GOOD[:-1],
    "ML-KEM's alone": GOOD[:ML_KEM_PUBLIC],
    "X25519's alone": GOOD[ML_KEM_PUBLIC:],
    "one more": GOOD + b"\0",
}


@pytest.mark.parametrize("wrong", (WRONG_KEYS | WRONG_SIZES).values(), ids=WRONG_KEYS | WRONG_SIZES)
def test_what_is_no_public_key_is_not_sealed_to(wrong: bytes) -> None:
    with pytest.raises(KeyRejected):
        X_WING.encapsulate(wrong, None)


@pytest.mark.parametrize("wrong", WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_a_configuration_of_such_a_key_is_not_sealed_to(wrong: bytes) -> None:
    config = KeyConfig(1, X_WING.code, wrong, KEY.symmetric_algorithms)
    (read,) = decode_key_configs(encode_key_configs([config]))
    with pytest.raises(KeyRejected):
        encapsulate_request(read, REQUEST)
    with pytest.raises(KeyRejected):
        chunked.encapsulate_request(read)


@pytest.mark.parametrize("size", range(3, 3 + X_WING.public_key_size + 6, 97))
def test_a_configuration_cut_short_is_none(size: int) -> None:
    data = KEY.config.encode()[:size]
    with pytest.raises(MalformedMessage):
        decode_key_configs(len(data).to_bytes(2) + data)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_private_key_has_one_size(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        X_WING.load_private_key(bytes(size))


def test_the_reference_refuses_what_is_altered_too() -> None:
    data = sealed()
    for wrong in (changed(data, 9, bytes([data[9] ^ 1])), changed(data, PREFIX - 32, bytes(32))):
        info = b"message/bhttp request\0" + data[:HEADER_SIZE]
        suite = oracle_suite(Aead(data[6]))
        with pytest.raises((InvalidTag, ValueError)):
            suite.decrypt(wrong[HEADER_SIZE:], oracle_key(KEY.private_key), info)


# Lists


UNKNOWN = (1217).to_bytes(2) + b"\x09\x00\x30" + bytes(1214)


def listed(*keys: GatewayKey) -> bytes:
    return encode_key_configs([key.config for key in keys])


@pytest.mark.parametrize(
    ("data", "chosen"),
    [
        (listed(KEY, CLASSIC), KEY),
        (listed(CLASSIC, KEY), KEY),
        (listed(KEY), KEY),
        (listed(CLASSIC), CLASSIC),
        (UNKNOWN + listed(CLASSIC, KEY), KEY),
        (UNKNOWN + listed(CLASSIC), CLASSIC),
        (listed(CLASSIC, OTHER, KEY), OTHER),  # the newest of them stands first
    ],
)
def test_x_wing_is_taken_where_it_is_listed(data: bytes, chosen: GatewayKey) -> None:
    config = preferred_config(decode_key_configs(data))
    assert config == chosen.config
    assert encapsulate_request(config, REQUEST)[0][1:3] == chosen.kem.code.to_bytes(2)


def test_a_configuration_without_a_known_suite_is_the_last_choice() -> None:
    strange = KeyConfig(1, X_WING.code, GOOD, [(9, 9)])
    assert preferred_config([strange, CLASSIC.config]) == CLASSIC.config
    assert preferred_config([strange]) == strange
    with pytest.raises(KeyRejected):
        encapsulate_request(strange, REQUEST)
    with pytest.raises(ValueError, match="empty"):
        preferred_config([])


@pytest.mark.usefixtures("without_x_wing")
def test_a_client_without_it_takes_the_next() -> None:
    assert preferred_config(decode_key_configs(listed(KEY, CLASSIC))) == CLASSIC.config
    with pytest.raises(ProtocolError):
        encapsulate_request(KEY.config, REQUEST)


def test_what_the_mechanism_adds_to_a_request() -> None:
    assert len(sealed()) - len(sealed(CLASSIC.config)) == 1088
    assert X_WING.enc_size - X25519_HKDF_SHA256.enc_size == 1088


def test_an_openssl_without_ml_kem_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        @staticmethod
        def from_public_bytes(data: bytes) -> MLKEM768PublicKey:
            raise UnsupportedAlgorithm("ML-KEM-768 is not supported by this backend.")

    monkeypatch.setattr(kem, "MLKEM768PublicKey", Missing)
    with pytest.raises(KeyRejected):
        encapsulate_request(KEY.config, REQUEST)
