"""Encapsulation against RFC 9458, Appendix A, and the unchunked messages of other projects."""

import dataclasses
from typing import Any

import pyhpke
import pytest

from protocol import encapsulation, hkdf, hpke, registry
from protocol.binary_http import decode_request
from protocol.encapsulation import (
    HEADER_SIZE,
    GatewayKey,
    decapsulate_request,
    encapsulate_request,
)
from protocol.errors import KeyRejected, MalformedMessage, ProtocolError
from protocol.hpke import Aead, Kdf
from protocol.kem import X25519_HKDF_SHA256 as KEM
from protocol.key_config import KeyConfig
from tests.support.vector_files import load, load_bytes

PREFIX_SIZE = HEADER_SIZE + KEM.enc_size
RFC = load("rfc9458-appendix-a.json")
V = load_bytes("rfc9458-appendix-a.json", "vector")
CASES = load("ohttp-implementations.json")["cases"]
REQUESTS = [case for case in CASES if case["kind"] == "decapsulate-request"]
VALID = [case for case in REQUESTS if case["valid"]]
INVALID = [case for case in REQUESTS if not case["valid"]]


def key_of(case: dict[str, Any]) -> GatewayKey:
    return GatewayKey(case["key_id"], bytes.fromhex(case["gateway_secret_key"]))


def rfc_key() -> GatewayKey:
    return GatewayKey(1, V["gateway_secret_key"])


def test_every_vector_is_run() -> None:
    assert (len(VALID), len(INVALID)) == (9, 24)
    assert set(V) == {
        "gateway_secret_key",
        "key_config",
        "request_bhttp",
        "client_ephemeral_secret",
        "enc",
        "info",
        "encapsulated_request",
        "response_bhttp",
        "exported_secret",
        "salt",
        "prk",
        "aead_key",
        "aead_nonce",
        "encapsulated_response",
        "response_nonce",
    }


class TestRfc9458AppendixA:
    """The one complete example, each of its values on the way."""

    def test_key_config(self) -> None:
        parsed = RFC["key_config_parsed"]
        config = KeyConfig.decode(V["key_config"])
        assert config.key_id == parsed["key_id"]
        assert config.kem_id == parsed["kem_id"]
        assert config.public_key.hex() == parsed["public_key"]
        assert config.symmetric_algorithms == tuple(
            (pair["kdf_id"], pair["aead_id"]) for pair in parsed["symmetric"]
        )
        suites = config.symmetric_algorithms
        assert GatewayKey(1, V["gateway_secret_key"], suites).config == config

    def test_media_types_and_lengths(self) -> None:
        assert RFC["http"]["request_media_type"] == registry.OHTTP_REQUEST.decode()
        assert RFC["http"]["response_media_type"] == registry.OHTTP_RESPONSE.decode()
        # The Content-Length fields in the RFC's HTTP messages are not the lengths of its own
        # encapsulated messages, which every other value there confirms: 7 + 32 + 25 + 16 bytes
        # and 16 + 3 + 16 bytes.
        assert RFC["http"]["request_content_length"] == 78
        assert RFC["http"]["response_content_length"] == 38
        assert len(V["encapsulated_request"]) == 7 + 32 + len(V["request_bhttp"]) + 16 == 80
        assert len(V["encapsulated_response"]) == 16 + len(V["response_bhttp"]) + 16 == 35

    def test_request(self) -> None:
        config = KeyConfig.decode(V["key_config"])
        data, _ = encapsulate_request(
            config, V["request_bhttp"], ephemeral=V["client_ephemeral_secret"]
        )
        assert data == V["encapsulated_request"]
        assert data[HEADER_SIZE:PREFIX_SIZE] == V["enc"]
        label = RFC["labels"]["request"].encode()
        assert label + b"\0" + data[:HEADER_SIZE] == V["info"]
        request, context = decapsulate_request([rfc_key()], data)
        assert request == V["request_bhttp"]
        assert (context.key_id, context.enc) == (1, V["enc"])

    def test_key_schedule_of_the_response(self) -> None:
        key = KEM.load_private_key(V["gateway_secret_key"])
        recipient = hpke.setup_recipient(
            KEM, V["enc"], key, Kdf.HKDF_SHA256, Aead.AES_128_GCM, V["info"]
        )
        secret = recipient.export(RFC["labels"]["response"].encode(), 16)
        assert secret == V["exported_secret"]
        assert V["salt"] == V["enc"] + V["response_nonce"]
        prk = hkdf.extract(V["salt"], secret)
        assert prk == V["prk"]
        assert hkdf.expand(prk, b"key", 16) == V["aead_key"]
        assert hkdf.expand(prk, b"nonce", 12) == V["aead_nonce"]
        cipher = hpke.new_cipher(Aead.AES_128_GCM, V["aead_key"])
        sealed = cipher.encrypt(V["aead_nonce"], V["response_bhttp"], b"")
        assert V["response_nonce"] + sealed == V["encapsulated_response"]

    def test_response(self) -> None:
        config = KeyConfig.decode(V["key_config"])
        data, client = encapsulate_request(
            config, V["request_bhttp"], ephemeral=V["client_ephemeral_secret"]
        )
        _, gateway = decapsulate_request([rfc_key()], data)
        sealed = gateway.seal_response(V["response_bhttp"], random=lambda size: V["response_nonce"])
        assert sealed == V["encapsulated_response"]
        assert client.open_response(sealed) == V["response_bhttp"]


class TestOtherImplementations:
    """What other projects sealed, opened here, and answered with the bytes that they had."""

    @pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
    def test_opens(self, case: dict[str, Any]) -> None:
        data = bytes.fromhex(case["encapsulated_request"])
        request, context = decapsulate_request([key_of(case)], data)
        assert request.hex() == case["plaintext"]
        assert context.enc.hex() == case["enc"]
        assert context.key_id == case["key_id"]
        assert data[5:7] == case["aead_id"].to_bytes(2, "big")

    @pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
    def test_exports_the_same_secret(self, case: dict[str, Any]) -> None:
        prefix = bytes.fromhex(case["encapsulated_request"])[:PREFIX_SIZE]
        header, enc = prefix[:HEADER_SIZE], prefix[HEADER_SIZE:]
        label = case["label"].encode()
        recipient = encapsulation.find_acceptor([key_of(case)], header, label).accept(enc)
        size = encapsulation.response_nonce_size(Aead(case["aead_id"]))
        assert recipient.export(b"message/bhttp response", size).hex() == case["exported_secret"]

    @pytest.mark.parametrize(
        "case",
        [case for case in VALID if "encapsulated_response" in case],
        ids=lambda case: case["id"],
    )
    def test_seals_the_same_response(self, case: dict[str, Any]) -> None:
        _, context = decapsulate_request(
            [key_of(case)], bytes.fromhex(case["encapsulated_request"])
        )
        nonce = bytes.fromhex(case["response_nonce"])
        sealed = context.seal_response(
            bytes.fromhex(case["response_plaintext"]), random=lambda size: nonce
        )
        assert sealed.hex() == case["encapsulated_response"]

    @pytest.mark.parametrize(
        "case", [case for case in VALID if "bhttp" in case], ids=lambda case: case["id"]
    )
    def test_what_is_inside(self, case: dict[str, Any]) -> None:
        request = decode_request(bytes.fromhex(case["plaintext"]))
        expected = case["bhttp"]
        assert request.method == expected["method"].encode()
        assert request.scheme == expected["scheme"].encode()
        assert request.authority == expected["authority"].encode()
        assert request.path == expected["path"].encode()
        assert request.content.hex() == expected["content"]
        headers = [[name.decode(), value.decode()] for name, value in request.headers]
        assert headers == expected["headers"]

    @pytest.mark.parametrize(
        "case", [case for case in CASES if "seed" in case], ids=lambda case: case["id"]
    )
    def test_keys_come_from_their_seeds(self, case: dict[str, Any]) -> None:
        suite = pyhpke.CipherSuite.new(
            pyhpke.KEMId.DHKEM_X25519_HKDF_SHA256,
            pyhpke.KDFId.HKDF_SHA256,
            pyhpke.AEADId.AES128_GCM,
        )
        pair = suite.kem.derive_key_pair(bytes.fromhex(case["seed"]))
        assert pair.private_key.to_private_bytes().hex() == case["gateway_secret_key"]
        if "key_config" in case:
            config = KeyConfig.decode(bytes.fromhex(case["key_config"]))
            assert config.public_key == key_of(case).config.public_key

    def test_key_configuration_derived_from_key_material(self) -> None:
        (case,) = (case for case in CASES if case["kind"] == "derive-key-config")
        suite = pyhpke.CipherSuite.new(
            pyhpke.KEMId.DHKEM_X25519_HKDF_SHA256,
            pyhpke.KDFId.HKDF_SHA256,
            pyhpke.AEADId.AES128_GCM,
        )
        pair = suite.kem.derive_key_pair(bytes.fromhex(case["ikm"]))
        assert pair.private_key.to_private_bytes().hex() == case["secret_key"]
        key = GatewayKey(1, bytes.fromhex(case["secret_key"]), [(1, 1), (1, 3)])
        assert key.config.encode().hex() == case["key_config"]

    @pytest.mark.parametrize("case", INVALID, ids=lambda case: case["id"])
    def test_refuses(self, case: dict[str, Any]) -> None:
        data = bytes.fromhex(case["encapsulated_request"])
        short = len(data) < PREFIX_SIZE + hpke.TAG_SIZE
        with pytest.raises(ProtocolError) as caught:
            decapsulate_request([key_of(case)], data)
        assert type(caught.value) is (MalformedMessage if short else KeyRejected)


@pytest.mark.parametrize("aead", list(Aead))
def test_both_ends_agree(aead: Aead) -> None:
    key = GatewayKey(9, bytes(range(32)), [(Kdf.HKDF_SHA256, aead)])
    data, client = encapsulate_request(key.config, b"request")
    request, gateway = decapsulate_request([GatewayKey.generate(8), key], data)
    assert request == b"request"
    assert client.open_response(gateway.seal_response(b"response")) == b"response"


def test_the_gateway_prefers_chacha20() -> None:
    config = GatewayKey.generate(1).config
    assert config.symmetric_algorithms == ((1, 3), (1, 1), (1, 2))
    data, _ = encapsulate_request(config, b"")
    assert data[:HEADER_SIZE].hex() == "01002000010003"


def test_the_client_takes_the_first_suite_it_has() -> None:
    public_key = GatewayKey.generate(1).config.public_key
    config = KeyConfig(1, 0x20, public_key, [(2, 1), (1, 0xFFFF), (1, 2), (1, 1)])
    data, _ = encapsulate_request(config, b"")
    assert data[:HEADER_SIZE].hex() == "01002000010002"


@pytest.mark.parametrize(
    "config",
    [
        KeyConfig(1, 0x20, bytes(range(32)), [(2, 1), (1, 4)]),
        KeyConfig(1, 0x10, bytes(65), [(1, 1)]),
        KeyConfig(1, 0x20, bytes(32), [(1, 1)]),
    ],
    ids=["no suite", "no KEM", "low-order public key"],
)
def test_the_client_refuses_unusable_configurations(config: KeyConfig) -> None:
    with pytest.raises(KeyRejected):
        encapsulate_request(config, b"")


def test_a_suite_that_was_not_offered_is_refused() -> None:
    secret = bytes(range(32))
    data, _ = encapsulate_request(GatewayKey(1, secret).config, b"")
    with pytest.raises(KeyRejected):
        decapsulate_request([GatewayKey(1, secret, [(1, 1)])], data)


def test_contexts_work_once() -> None:
    key = GatewayKey.generate(1)
    data, client = encapsulate_request(key.config, b"")
    _, gateway = decapsulate_request([key], data)
    sealed = gateway.seal_response(b"response")
    with pytest.raises(ValueError, match="before"):
        gateway.seal_response(b"response")
    with pytest.raises(KeyRejected):
        client.open_response(sealed[:-1])
    with pytest.raises(ValueError, match="before"):
        client.open_response(sealed)


@pytest.mark.parametrize("aead", list(Aead))
def test_every_cut_and_every_altered_byte_of_an_answer_is_refused(aead: Aead) -> None:
    key = GatewayKey(1, bytes(range(32)), [(Kdf.HKDF_SHA256, aead)])
    ephemeral = bytes(range(1, 33))
    data, _ = encapsulate_request(key.config, b"", ephemeral=ephemeral)
    sealed = decapsulate_request([key], data)[1].seal_response(b"answer")
    altered = [sealed[:cut] for cut in range(len(sealed))]
    altered += [
        sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))
    ]
    for answer in altered:
        _, client = encapsulate_request(key.config, b"", ephemeral=ephemeral)
        with pytest.raises(ProtocolError):
            client.open_response(answer)


def test_every_altered_byte_of_a_request_is_refused() -> None:
    for at in range(len(V["encapsulated_request"])):
        data = bytearray(V["encapsulated_request"])
        data[at] ^= 1
        with pytest.raises(KeyRejected):
            decapsulate_request([rfc_key()], bytes(data))


def test_keys_are_compared_by_what_is_public_and_never_printed() -> None:
    secret = bytes(range(32))
    key = GatewayKey(1, secret)
    assert key == GatewayKey(1, secret)
    assert key != GatewayKey(2, secret)
    assert key != GatewayKey(1, bytes(range(1, 33)))
    assert secret.hex() not in repr(key)
    assert repr(secret)[2:-1] not in repr(key)
    shown = f"symmetric_algorithms={key.symmetric_algorithms}, config={key.config}"
    assert repr(key) == f"GatewayKey(key_id=1, {shown})"
    generated = GatewayKey.generate(3, random=lambda size: secret[:size])
    assert generated == GatewayKey(3, secret)


def test_a_gateways_key_shows_and_compares_what_is_public() -> None:
    key = GatewayKey(7, bytes(range(32)))
    assert [each.name for each in dataclasses.fields(key) if each.compare] == [
        "key_id",
        "kem",
        "config",
    ]
    assert str(bytes(range(32))) not in repr(key)
    assert key == GatewayKey(7, bytes(range(32)))
    assert key != GatewayKey(7, bytes(range(1, 33)))


def test_what_a_gateways_key_derives_is_given_by_nobody() -> None:
    given = {each.name for each in dataclasses.fields(GatewayKey) if each.init}
    assert given == {"key_id", "private_key", "symmetric_algorithms", "kem"}


def test_a_request_for_another_kem_is_refused_before_it_is_opened() -> None:
    key = GatewayKey(1, bytes(range(32)))
    request = bytearray(bytes(HEADER_SIZE + key.kem.enc_size + 17))
    request[0], request[1:3] = 1, (0x0010).to_bytes(2, "big")
    with pytest.raises(KeyRejected, match="KEM"):
        decapsulate_request([key], bytes(request))
