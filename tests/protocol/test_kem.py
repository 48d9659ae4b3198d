"""X25519 by its vectors; and a toy of other sizes, of which nothing else has to know."""

import itertools
from collections.abc import Iterable

import pyhpke
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.keys.attester import Attester
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol import chunked, encapsulation
from protocol.encapsulation import HEADER_SIZE, GatewayKey
from protocol.errors import KeyRejected, MalformedMessage, TruncatedMessage
from protocol.evidence import attested_config, simulated_root, verify_evidence
from protocol.kem import KEMS, X25519_HKDF_SHA256, Kem, find_kem
from protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from tests.support.attestation_samples import NOW, signing_keys
from tests.support.toy_kem import REFUSED, toy
from tests.support.vector_files import load

__all__ = ["toy"]

VECTORS = [vector["setup"] for vector in load("hpke-rfc9180.json")["vectors"]]
REFERENCE = pyhpke.CipherSuite.new(
    pyhpke.KEMId.DHKEM_X25519_HKDF_SHA256, pyhpke.KDFId.HKDF_SHA256, pyhpke.AEADId.AES128_GCM
).kem
X25519_KEY = GatewayKey(2, bytes(range(32)))
OCTETS = (b"1", b"1", b"2")
octets = st.binary(min_size=32, max_size=32)


def octets_of(setup: dict[str, str], *names: str) -> list[bytes]:
    return [bytes.fromhex(setup[name]) for name in names]


@pytest.mark.parametrize("setup", VECTORS, ids=lambda setup: setup["aead_id"])
def test_vectors(setup: dict[str, str]) -> None:
    secret, public, ephemeral, enc = octets_of(setup, "skRm", "pkRm", "skEm", "enc")
    (shared,) = octets_of(setup, "shared_secret")
    key = X25519_HKDF_SHA256.load_private_key(secret)
    assert key.public_key == public
    assert key.decapsulate(enc) == shared
    assert X25519_HKDF_SHA256.encapsulate(public, ephemeral) == (shared, enc)


@given(octets)
def test_what_is_encapsulated_is_decapsulated_here_and_by_pyhpke(private_key: bytes) -> None:
    key = X25519_HKDF_SHA256.load_private_key(private_key)
    secret, enc = X25519_HKDF_SHA256.encapsulate(key.public_key, None)
    assert (len(key.public_key), len(enc), len(secret)) == (32, 32, 32)
    assert key.decapsulate(enc) == secret
    assert REFERENCE.decap(enc, REFERENCE.deserialize_private_key(private_key)) == secret


@pytest.mark.parametrize("kem", KEMS.values(), ids=lambda kem: kem.name)
def test_private_keys_are_compared_by_what_is_public_and_show_no_more(kem: Kem) -> None:
    one, again, other = (kem.load_private_key(octet * kem.private_key_size) for octet in OCTETS)
    assert one == again
    assert one != other
    assert repr(one) == f"PrivateKey(public_key={one.public_key!r})"


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(32), bytes(33)])
def test_what_is_no_public_key_is_refused(wrong: bytes) -> None:
    with pytest.raises(KeyRejected):
        X25519_KEY.secret.decapsulate(wrong)
    with pytest.raises(KeyRejected):
        X25519_HKDF_SHA256.encapsulate(wrong, None)


def test_private_keys_are_not_printed() -> None:
    key = X25519_HKDF_SHA256.load_private_key(bytes(range(32)))
    assert repr(key) == f"PrivateKey(public_key={key.public_key!r})"


def test_mechanisms_are_found_by_their_code_points(toy: Kem) -> None:
    assert find_kem(0x0020) is X25519_HKDF_SHA256
    assert find_kem(toy.code) is toy
    assert find_kem(0x0010) is None
    assert all(code == kem.code for code, kem in KEMS.items())


# From here on: nothing but its one entry is needed for a mechanism of other sizes.


@pytest.fixture
def toy_key(toy: Kem) -> GatewayKey:
    return GatewayKey.generate(1, toy, random=lambda size: bytes(range(size)))


def cut(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    borders = [0, *itertools.takewhile(lambda at: at < len(data), itertools.accumulate(sizes))]
    return [data[a:b] for a, b in itertools.pairwise([*borders, len(data)])]


def test_a_list_of_both_reads_back(toy_key: GatewayKey) -> None:
    configs = [toy_key.config, X25519_KEY.config]
    data = encode_key_configs(configs)
    assert decode_key_configs(data) == configs
    assert KeyConfig.decode(toy_key.config.encode()) == toy_key.config
    assert len(toy_key.config.public_key) == 1216
    with pytest.raises(ValueError, match="wrong size"):
        KeyConfig(1, toy_key.kem.code, bytes(32), [(1, 1)])


def test_who_does_not_have_it_takes_the_next(
    toy_key: GatewayKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode_key_configs([toy_key.config, X25519_KEY.config])
    monkeypatch.delitem(KEMS, toy_key.kem.code)
    assert decode_key_configs(data) == [X25519_KEY.config]
    with pytest.raises(KeyRejected):
        encapsulation.encapsulate_request(toy_key.config, b"request")


def test_whole_messages(toy_key: GatewayKey) -> None:
    keys = [X25519_KEY, toy_key]
    data, client = encapsulation.encapsulate_request(toy_key.config, b"request")
    assert len(data) == HEADER_SIZE + 1120 + len(b"request") + 16
    request, gateway = encapsulation.decapsulate_request(keys, data)
    assert (request, gateway.key_id, len(gateway.enc)) == (b"request", 1, 1120)
    assert client.open_response(gateway.seal_response(b"response")) == b"response"
    data, _ = encapsulation.encapsulate_request(X25519_KEY.config, b"request")
    assert encapsulation.decapsulate_request(keys, data)[0] == b"request"


@pytest.mark.parametrize("size", [1, 7, 39, 1127, 5000])
def test_chunked_messages_in_any_split(toy_key: GatewayKey, size: int) -> None:
    sealer, client = chunked.encapsulate_request(toy_key.config)
    data = sealer.seal(b"request") + sealer.finish(b"end")
    opener = chunked.decapsulate_request(iter([X25519_KEY, toy_key]))
    pieces = [piece for part in cut(data, itertools.repeat(size)) for piece in opener.feed(part)]
    final, gateway = opener.finish()
    assert (pieces, final, len(gateway.enc)) == ([b"request"], b"end", 1120)
    answer = gateway.seal_response()
    response = client.open_response()
    assert response.feed(answer.seal(b"response") + answer.finish()) == [b"response"]


def test_an_altered_key_or_a_refused_one_does_not_open(toy_key: GatewayKey) -> None:
    data, _ = encapsulation.encapsulate_request(toy_key.config, b"request")
    other = bytes([data[HEADER_SIZE] ^ 1])
    altered = data[:HEADER_SIZE] + other + data[HEADER_SIZE + 1 :]
    refused = data[:HEADER_SIZE] + REFUSED + data[HEADER_SIZE + len(REFUSED) :]
    for wrong in (altered, refused):
        with pytest.raises(KeyRejected):
            encapsulation.decapsulate_request([toy_key], wrong)


def test_a_header_of_another_mechanism_is_refused_before_more_is_read(toy_key: GatewayKey) -> None:
    keys = [toy_key, X25519_KEY]
    for own, other in ((toy_key, X25519_KEY), (X25519_KEY, toy_key)):
        data, _ = encapsulation.encapsulate_request(own.config, b"request")
        header = bytes([other.key_id]) + data[1:HEADER_SIZE]
        with pytest.raises(KeyRejected):
            encapsulation.decapsulate_request(keys, header + bytes(16))
        with pytest.raises(KeyRejected):
            chunked.decapsulate_request(keys).feed(header)


def test_what_is_too_short_is_malformed(toy_key: GatewayKey) -> None:
    data, _ = encapsulation.encapsulate_request(toy_key.config, b"")
    # 39 octets were once the prefix of every request.
    for size in (0, HEADER_SIZE - 1, HEADER_SIZE, 39, HEADER_SIZE + 1120, len(data) - 1):
        with pytest.raises(MalformedMessage):
            encapsulation.decapsulate_request([toy_key], data[:size])
        opener = chunked.decapsulate_request([toy_key])
        assert opener.feed(data[: min(size, 39)]) == []
        with pytest.raises(TruncatedMessage):
            opener.finish()


def test_evidence_holds_the_newest_key_for_which_there_is_room(toy_key: GatewayKey) -> None:
    configs = [toy_key.config, X25519_KEY.config, GatewayKey(3, bytes(range(1, 33))).config]
    keys = signing_keys("signing")
    module = SimulatedSecurityModule(now=NOW.timestamp)
    evidence = Attester(module, keys).attest(encode_key_configs(configs))
    verified = verify_evidence(
        evidence, now=NOW, root=simulated_root(evidence.document), allow_debug=True
    )
    assert verified.key_configs == tuple(configs)
    assert verified.attestation.public_key == X25519_KEY.config.encode()
    assert attested_config(verified.key_configs[:1]) is None
    with pytest.raises(ValueError, match="fits"):
        Attester(module, keys).attest(encode_key_configs(configs[:1]))
