"""HPKE against RFC 9180, Appendices A.1.1 and A.2.1, every value of both, and against pyhpke."""

from typing import Any

import pyhpke
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import hkdf, hpke
from protocol.errors import KeyRejected
from protocol.hpke import Acceptor, Aead, Kdf
from protocol.kem import X25519_HKDF_SHA256 as KEM
from tests.support.vector_files import load

VECTORS = load("hpke-rfc9180.json")["vectors"]
X25519 = pyhpke.KEMId.DHKEM_X25519_HKDF_SHA256
LOW_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
]


class Case:
    """One vector, with its numbers as numbers and its hexadecimal strings as bytes."""

    def __init__(self, vector: dict[str, Any]) -> None:
        numbers = {"mode", "kem_id", "kdf_id", "aead_id"}
        setup = vector["setup"]
        self.setup = {key: bytes.fromhex(setup[key]) for key in setup if key not in numbers}
        assert [int(setup["mode"]), int(setup["kem_id"])] == [0, KEM.code]
        self.kdf = Kdf(int(setup["kdf_id"]))
        self.aead = Aead(int(setup["aead_id"]))
        self.encryptions = {
            int(item["sequence number"]): {
                key: bytes.fromhex(item[key]) for key in ("pt", "aad", "nonce", "ct")
            }
            for item in vector["encryptions"]
        }
        self.exports = [
            (bytes.fromhex(item["exporter_context"]), int(item["L"]), item["exported_value"])
            for item in vector["exports"]
        ]

    def sender(self) -> hpke.Sender:
        values = self.setup
        return hpke.setup_sender(
            KEM, values["pkRm"], self.kdf, self.aead, values["info"], ephemeral=values["skEm"]
        )

    def recipient(self) -> hpke.Recipient:
        values = self.setup
        key = KEM.load_private_key(values["skRm"])
        return hpke.setup_recipient(KEM, values["enc"], key, self.kdf, self.aead, values["info"])


@pytest.fixture(params=VECTORS, ids=lambda vector: vector["suite"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_every_vector_is_run() -> None:
    assert len(VECTORS) == 2
    assert [len(vector["encryptions"]) for vector in VECTORS] == [6, 6]
    assert [len(vector["exports"]) for vector in VECTORS] == [3, 3]


def test_keys_are_derived_from_their_seeds(case: Case) -> None:
    kem = pyhpke.CipherSuite.new(X25519, pyhpke.KDFId(case.kdf), pyhpke.AEADId(case.aead)).kem
    for party in "ER":
        pair = kem.derive_key_pair(case.setup[f"ikm{party}"])
        assert pair.private_key.to_private_bytes() == case.setup[f"sk{party}m"]
        assert pair.public_key.to_public_bytes() == case.setup[f"pk{party}m"]
        private_key = KEM.load_private_key(case.setup[f"sk{party}m"])
        assert private_key.public_key == case.setup[f"pk{party}m"]


def test_key_schedule(case: Case) -> None:
    """Recompute the schedule's inner values (RFC 9180, Section 5.1) with our own HKDF."""
    values = case.setup
    suite_id = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (32, case.kdf, case.aead))

    def extract(salt: bytes, label: bytes, secret: bytes) -> bytes:
        return hkdf.extract(salt, b"HPKE-v1" + suite_id + label + secret)

    def expand(label: bytes, size: int) -> bytes:
        info = size.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label
        return hkdf.expand(values["secret"], info + values["key_schedule_context"], size)

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", values["info"])
    assert context == values["key_schedule_context"]
    assert extract(values["shared_secret"], b"secret", b"") == values["secret"]
    assert expand(b"key", case.aead.key_size) == values["key"]
    assert expand(b"base_nonce", case.aead.nonce_size) == values["base_nonce"]
    assert expand(b"exp", 32) == values["exporter_secret"]


def test_shared_secret(case: Case) -> None:
    kem = pyhpke.CipherSuite.new(X25519, pyhpke.KDFId(case.kdf), pyhpke.AEADId(case.aead)).kem
    private_key = kem.deserialize_private_key(case.setup["skRm"])
    assert kem.decap(case.setup["enc"], private_key) == case.setup["shared_secret"]


def test_seals_in_order(case: Case) -> None:
    sender = case.sender()
    assert sender.enc == case.setup["enc"] == case.setup["pkEm"]
    cipher = hpke.new_cipher(case.aead, case.setup["key"])
    for number in range(max(case.encryptions) + 1):
        expected = case.encryptions.get(number)
        if expected is None:
            sender.seal(b"skipped")
            continue
        assert sender.seal(expected["pt"], expected["aad"]) == expected["ct"]
        sealed_alone = cipher.encrypt(expected["nonce"], expected["pt"], expected["aad"])
        assert sealed_alone == expected["ct"]


def test_opens_in_order(case: Case) -> None:
    sender, recipient = case.sender(), case.recipient()
    for number in range(max(case.encryptions) + 1):
        expected = case.encryptions.get(number, {"pt": b"", "aad": b""})
        sealed = sender.seal(expected["pt"], expected["aad"])
        assert sealed == expected.get("ct", sealed)
        assert recipient.open(sealed, expected["aad"]) == expected["pt"]


def test_exports(case: Case) -> None:
    for context, length, expected in case.exports:
        assert case.sender().export(context, length).hex() == expected
        assert case.recipient().export(context, length).hex() == expected


def test_aes_256_gcm_between_both_ends() -> None:
    """RFC 9180 has no base-mode vector for X25519 with AES-256-GCM; other vectors cover it."""
    key = KEM.load_private_key(bytes(range(32)))
    sender = hpke.setup_sender(KEM, key.public_key, Kdf.HKDF_SHA256, Aead.AES_256_GCM, b"info")
    recipient = hpke.setup_recipient(
        KEM, sender.enc, key, Kdf.HKDF_SHA256, Aead.AES_256_GCM, b"info"
    )
    assert recipient.open(sender.seal(b"message", b"aad"), b"aad") == b"message"
    assert recipient.export(b"", 32) == sender.export(b"", 32)


@pytest.mark.parametrize("enc", [*LOW_ORDER, b"", bytes(31), bytes(33)])
def test_refuses_low_order_and_misshapen_keys(enc: bytes) -> None:
    key = KEM.load_private_key(bytes(range(32)))
    with pytest.raises(KeyRejected):
        hpke.setup_recipient(KEM, enc, key, Kdf.HKDF_SHA256, Aead.AES_128_GCM, b"")
    with pytest.raises(KeyRejected):
        hpke.setup_sender(KEM, enc, Kdf.HKDF_SHA256, Aead.AES_128_GCM, b"")


def test_altered_messages_do_not_open(case: Case) -> None:
    first = case.encryptions[0]
    for altered in (b"", first["ct"][:-1], bytes([first["ct"][0] ^ 1]) + first["ct"][1:]):
        with pytest.raises(KeyRejected):
            case.recipient().open(altered, first["aad"])
    with pytest.raises(KeyRejected):
        case.recipient().open(first["ct"], first["aad"] + b"x")


def test_open_with_refuses_short_messages() -> None:
    cipher = hpke.new_cipher(Aead.CHACHA20_POLY1305, bytes(32))
    with pytest.raises(KeyRejected):
        hpke.open_with(cipher, bytes(12), b"short")


def test_secrets_are_not_printed(case: Case) -> None:
    key = KEM.load_private_key(case.setup["skRm"])
    for text in (repr(key), repr(case.sender()), repr(case.recipient())):
        assert case.setup["skRm"].hex() not in text
        assert repr(case.setup["skRm"])[2:-1] not in text
        assert "ontext" not in text


def reference(private_key: bytes, enc: bytes, aead: Aead, info: bytes) -> pyhpke.ContextInterface:
    """Return pyhpke's recipient, which `hpke.Recipient` must not differ from."""
    suite = pyhpke.CipherSuite.new(X25519, pyhpke.KDFId.HKDF_SHA256, pyhpke.AEADId(aead))
    key = pyhpke.KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(private_key))
    return suite.create_recipient_context(enc, key, info)


private_keys = st.binary(min_size=32, max_size=32)
aeads = st.sampled_from(Aead)


@given(
    private_keys,
    aeads,
    st.binary(max_size=100),
    st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=20)), max_size=4),
    st.binary(max_size=40),
    st.integers(1, 32),
)
def test_recipient_is_the_same_as_pyhpke(
    private_key: bytes,
    aead: Aead,
    info: bytes,
    messages: list[tuple[bytes, bytes]],
    context: bytes,
    length: int,
) -> None:
    key = KEM.load_private_key(private_key)
    sender = hpke.setup_sender(KEM, key.public_key, Kdf.HKDF_SHA256, aead, info)
    recipient = hpke.setup_recipient(KEM, sender.enc, key, Kdf.HKDF_SHA256, aead, info)
    other = reference(private_key, sender.enc, aead, info)
    for plaintext, aad in messages:
        sealed = sender.seal(plaintext, aad)
        assert recipient.open(sealed, aad) == other.open(sealed, aad) == plaintext
    assert recipient.export(context, length) == other.export(context, length)
    assert recipient.export(context, length) == sender.export(context, length)


@given(private_keys, aeads, st.binary(min_size=32, max_size=32))
def test_any_encapsulated_key_is_taken_or_refused_as_by_pyhpke(
    private_key: bytes, aead: Aead, enc: bytes
) -> None:
    """Most bytes are a point of the curve or of its twist, in no canonical form."""
    try:
        expected = reference(private_key, enc, aead, b"info").export(b"context", 32)
    except ValueError:
        with pytest.raises(KeyRejected):
            hpke.setup_recipient(
                KEM, enc, KEM.load_private_key(private_key), Kdf.HKDF_SHA256, aead, b"info"
            )
        return
    recipient = hpke.setup_recipient(
        KEM, enc, KEM.load_private_key(private_key), Kdf.HKDF_SHA256, aead, b"info"
    )
    assert recipient.export(b"context", 32) == expected


def test_an_acceptor_keeps_messages_apart(case: Case) -> None:
    key = KEM.load_private_key(case.setup["skRm"])
    acceptor = Acceptor(KEM, key, case.kdf, case.aead, case.setup["info"])
    for first in (b"one", b"two"):
        sender = hpke.setup_sender(KEM, key.public_key, case.kdf, case.aead, case.setup["info"])
        recipient = acceptor.accept(sender.enc)
        assert recipient.open(sender.seal(first)) == first
        assert recipient.open(sender.seal(b"second")) == b"second"
        assert recipient.export(b"", 16) == sender.export(b"", 16)
    expected = case.encryptions[0]
    assert (
        acceptor.accept(case.setup["enc"]).open(expected["ct"], expected["aad"]) == expected["pt"]
    )


def test_a_message_that_does_not_open_is_not_counted(case: Case) -> None:
    """RFC 9180, Section 5.2: ContextR.Open() raises before it increments the sequence number."""
    recipient, first = case.recipient(), case.encryptions[0]
    with pytest.raises(KeyRejected):
        recipient.open(bytes(32))
    assert recipient.open(first["ct"], first["aad"]) == first["pt"]


@pytest.mark.parametrize("length", [0, 33])
def test_a_recipient_exports_one_block_at_most(case: Case, length: int) -> None:
    with pytest.raises(ValueError, match="one block"):
        case.recipient().export(b"", length)


@given(private_keys, aeads, st.binary(max_size=40), st.lists(st.binary(max_size=99), max_size=3))
def test_sender_is_the_same_as_pyhpke(
    private_key: bytes, aead: Aead, info: bytes, messages: list[bytes]
) -> None:
    public_key = KEM.load_private_key(private_key).public_key
    sender = hpke.setup_sender(KEM, public_key, Kdf.HKDF_SHA256, aead, info)
    other = reference(private_key, sender.enc, aead, info)
    for message in messages:
        assert other.open(sender.seal(message, info), info) == message
    assert sender.export(info, 32) == other.export(info, 32)
