"""Evidence: its JSON, and that the keys beside the document are the ones it binds."""

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.keys.attester import Attester
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.attestation import OPTIONAL_BYTES
from protocol.encapsulation import GatewayKey, decapsulate_request, encapsulate_request
from protocol.errors import (
    AttestationError,
    AttestationReason,
    AttestationStep,
    MalformedMessage,
    ProtocolError,
)
from protocol.evidence import (
    MAX_EVIDENCE_BYTES,
    Evidence,
    Platform,
    VerifiedEvidence,
    attested_config,
    encode_user_data,
    simulated_root,
    verify_evidence,
)
from protocol.kem import X25519_HKDF_SHA256, X_WING
from protocol.key_config import KeyConfig, encode_key_configs
from protocol.signature import encode_pem, encode_spki, key_identifier
from protocol.token_catalogue import MAX_CATALOGUE_BYTES
from tests.support.attestation_samples import (
    NONCE,
    NOW,
    PCRS,
    changed_path,
    document,
    evidence,
    gateway_key,
    outcome,
    pem,
    root,
    rsa_key,
    signing_keys,
    spki,
)
from tests.support.private_tokens import catalogue
from tests.support.x_wing import without_x_wing

__all__ = ["without_x_wing"]

BINDING = AttestationStep.BINDING
UNBOUND = BINDING, AttestationReason.UNBOUND_KEYS
PLATFORM = AttestationStep.PLATFORM, AttestationReason.SIMULATED


def accepted(made: Evidence, **arguments: Any) -> VerifiedEvidence:
    given: dict[str, Any] = {"now": NOW, "root": root()}
    return verify_evidence(made, **(given | arguments))


def refusal(made: Evidence, **arguments: Any) -> tuple[AttestationStep, AttestationReason]:
    with pytest.raises(AttestationError) as caught:
        accepted(made, **arguments)
    return outcome(caught.value)


def simulated(**changes: Any) -> Evidence:
    module = SimulatedSecurityModule(now=NOW.timestamp)
    good = evidence()
    user_data = encode_user_data(good.ohttp_keys, spki(rsa_key("signing").public_key()))
    made = module.attest(user_data, gateway_key(2).config.encode(), NONCE)
    return replace(good, document=made, platform=Platform.SIMULATED, **changes)


def test_all_that_is_bound_stands_in_the_order_of_deterministic_cbor() -> None:
    data = encode_user_data(b"keys", b"spki", b"another", b"catalogue")
    assert len(cbor2.loads(data)) == 4
    assert data == cbor2.dumps(cbor2.loads(data), canonical=True)


def test_user_data_is_deterministic_cbor() -> None:
    hashes = hashlib.sha256(b"keys").digest(), hashlib.sha256(b"spki").digest()
    assert encode_user_data(b"keys", b"spki") == (
        b"\xa2\x6aohttp_keys\x58\x20" + hashes[0] + b"\x6bsigning_key\x58\x20" + hashes[1]
    )


# JSON


def test_a_document_holds_the_first_key_for_which_it_has_room() -> None:
    sizes = [OPTIONAL_BYTES["public_key"] + over for over in (1, 0, -1)]
    configs = [KeyConfig(1, 0xFFFF, bytes(size - 9), [(1, 1)]) for size in sizes]
    assert [len(config.encode()) for config in configs] == sizes
    assert attested_config(configs) is configs[1]
    assert attested_config(configs[:1]) is None


def test_more_than_any_evidence_has_is_not_read() -> None:
    data = evidence().encode()
    assert Evidence.decode(data.ljust(MAX_EVIDENCE_BYTES))
    with pytest.raises(MalformedMessage, match="too large"):
        Evidence.decode(data.ljust(MAX_EVIDENCE_BYTES + 1))


def test_evidence_survives_the_wire() -> None:
    made = evidence()
    assert Evidence.decode(made.encode()) == made
    assert set(json.loads(made.encode())) == {
        "attestation",
        "ohttp_keys",
        "signing_key",
        "platform",
    }
    assert base64.b64decode(json.loads(made.encode())["attestation"]) == made.document


def test_members_of_later_versions_are_passed_over() -> None:
    members = json.loads(evidence().encode()) | {"expires": 5}
    assert Evidence.decode(json.dumps(members).encode()) == evidence_of(members)


@pytest.mark.parametrize("name", ["attestation", "ohttp_keys", "signing_key", "platform", "later"])
def test_a_member_that_comes_twice_is_refused(name: str) -> None:
    # Two readers could take two different keys from it.
    members = {"later": 1} | json.loads(evidence().encode())
    twice = json.dumps(members)[:-1] + f", {json.dumps(name)}: {json.dumps(members[name])}}}"
    assert json.loads(twice) == members
    with pytest.raises(MalformedMessage):
        Evidence.decode(twice.encode())


def evidence_of(members: dict[str, Any]) -> Evidence:
    return Evidence(
        base64.b64decode(members["attestation"]),
        base64.b64decode(members["ohttp_keys"]),
        members["signing_key"].encode(),
        Platform(members["platform"]),
    )


WRONG_MEMBERS: list[dict[str, Any]] = [
    {"attestation": ...},
    {"attestation": None},
    {"attestation": "not base64!"},
    {"attestation": "AAA"},
    {"attestation": "AA\nAA"},
    {"ohttp_keys": 5},
    {"ohttp_keys": "ÄÄÄÄ"},
    {"signing_key": ["PEM"]},
    {"signing_key": "PÉM"},
    {"platform": ...},
    {"platform": "aws"},
    {"platform": ["simulated"]},
    {"platform": {}},
]


@pytest.mark.parametrize("changes", WRONG_MEMBERS)
def test_wrong_members(changes: dict[str, Any]) -> None:
    members = json.loads(evidence().encode()) | changes
    encoded = json.dumps({name: value for name, value in members.items() if value is not ...})
    with pytest.raises(MalformedMessage):
        Evidence.decode(encoded.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"[" * 20000,
        b'{"a":' * 10000,
        b'{"platform":"simulated","platform":"aws-nitro"}',
        b"9" * 5000,
        b" " * (MAX_EVIDENCE_BYTES + 1),
    ],
    ids=range(11),
)
def test_wrong_json(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Evidence.decode(data)


@given(st.binary() | st.text().map(str.encode))
def test_arbitrary_bytes_raise_protocol_error_alone(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Evidence.decode(data)


JSON = st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.text())


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(json.loads(evidence().encode()), JSON)))
def test_arbitrary_members_raise_protocol_error_alone(members: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        Evidence.decode(json.dumps(members).encode())


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_arbitrary_keys_raise_attestation_error_alone(keys: bytes, signing_key: bytes) -> None:
    with pytest.raises(AttestationError):
        accepted(replace(evidence(), ohttp_keys=keys, signing_key_pem=signing_key))


# Binding


def test_verified_evidence_gives_the_keys() -> None:
    made = evidence()
    verified = accepted(made, pcrs=PCRS, nonce=NONCE, max_age=60)
    assert verified.key_configs == (gateway_key(2).config, gateway_key(1).config)
    assert verified.signing_key.public_numbers() == rsa_key("signing").public_key().public_numbers()
    assert verified.evidence is made
    assert verified.attestation.nonce == NONCE


def test_the_steps_of_the_document_come_first() -> None:
    made = replace(evidence(), ohttp_keys=b"")
    assert refusal(made, nonce=b"another")[0] is AttestationStep.FRESHNESS
    assert refusal(made, pcrs={0: bytes(48)})[0] is AttestationStep.MEASUREMENTS
    assert refusal(made, root=changed_path("root")[0])[0] is AttestationStep.CHAIN


def test_other_key_configurations() -> None:
    other = encode_key_configs([gateway_key(2).config])
    assert refusal(replace(evidence(), ohttp_keys=other)) == UNBOUND


def test_another_signing_key() -> None:
    other = pem(rsa_key("another").public_key())
    assert refusal(replace(evidence(), signing_key_pem=other)) == UNBOUND


def test_the_order_of_key_configurations_is_bound() -> None:
    turned = encode_key_configs([gateway_key(1).config, gateway_key(2).config])
    assert refusal(replace(evidence(), ohttp_keys=turned)) == UNBOUND


def test_a_document_for_a_key_that_is_not_the_newest() -> None:
    for public_key in (gateway_key(1).config.encode(), None, b""):
        assert refusal(evidence(public_key=public_key)) == UNBOUND


def test_a_list_of_keys_that_nobody_can_use() -> None:
    signing_key = rsa_key("signing").public_key()
    made = evidence(user_data=encode_user_data(b"", spki(signing_key)))
    assert refusal(replace(made, ohttp_keys=b"")) == UNBOUND


HASH = bytes(32)


@pytest.mark.parametrize(
    "user_data",
    [
        None,
        b"",
        b"not CBOR",
        cbor2.dumps([]),
        cbor2.dumps({}),
        cbor2.dumps({"ohttp_keys": HASH, "signing_key": HASH}),
        cbor2.dumps({"ohttp_keys": None, "signing_key": None}),
        encode_user_data(b"", b"") + b"\x00",
    ],
)
def test_user_data_that_binds_nothing(user_data: bytes | None) -> None:
    assert refusal(evidence(user_data=user_data)) == UNBOUND


def bound_hashes() -> dict[str, bytes]:
    good = evidence()
    signing_key = rsa_key("signing").public_key()
    hashes: dict[str, bytes] = cbor2.loads(encode_user_data(good.ohttp_keys, spki(signing_key)))
    return hashes


@pytest.mark.parametrize("name", ["ohttp_keys", "signing_key"])
def test_each_hash_is_needed(name: str) -> None:
    hashes = bound_hashes()
    del hashes[name]
    assert refusal(evidence(user_data=cbor2.dumps(hashes))) == UNBOUND


def test_there_is_room_for_more_hashes() -> None:
    assert accepted(evidence(user_data=cbor2.dumps(bound_hashes() | {"policy": HASH})))


# The token catalogue

LISTED = catalogue()
CATALOGUE = LISTED.encode()
REFUSED_CATALOGUE = BINDING, AttestationReason.CATALOGUE


def with_catalogue(bound: bytes | None = CATALOGUE, told: bytes | None = CATALOGUE) -> Evidence:
    """Good evidence that tells one catalogue, and binds one."""
    good, signing_key = evidence(), spki(rsa_key("signing").public_key())
    user_data = encode_user_data(good.ohttp_keys, signing_key, token_catalogue=bound)
    return replace(evidence(user_data=user_data), token_catalogue=told)


def test_the_catalogue_is_bound() -> None:
    made = with_catalogue()
    verified = accepted(Evidence.decode(made.encode()))
    assert verified.evidence == made
    assert verified.evidence.token_catalogue == CATALOGUE
    assert verified.catalogue == LISTED
    assert json.loads(made.encode())["token_catalogue"] == base64.b64encode(CATALOGUE).decode()
    bound = cbor2.loads(verified.attestation.user_data or b"")
    assert bound["tokens"] == hashlib.sha256(CATALOGUE).digest()
    assert accepted(evidence()).evidence.token_catalogue is None
    assert accepted(evidence()).catalogue is None


@pytest.mark.parametrize(
    "told", [None, b"", CATALOGUE[:-1], CATALOGUE + b" ", CATALOGUE.replace(b"1", b"2", 1)]
)
def test_nobody_on_the_way_can_change_it_nor_take_it_away_nor_add_one(told: bytes | None) -> None:
    assert refusal(with_catalogue(told=told)) == REFUSED_CATALOGUE
    if told is not None:
        assert refusal(with_catalogue(bound=None, told=told)) == REFUSED_CATALOGUE


def test_one_that_would_tell_buyers_apart_is_refused_though_it_is_bound() -> None:
    members = json.loads(CATALOGUE)
    members["keys"][0]["redeem_until"] += 1
    for data in (
        json.dumps(members).encode(),
        b"",
        b"{}",
        CATALOGUE.ljust(MAX_CATALOGUE_BYTES + 1),
    ):
        assert refusal(with_catalogue(data, data)) == REFUSED_CATALOGUE


@pytest.mark.parametrize("value", [None, 5, "not base64!", "AAA", "ÄÄÄÄ", ["AAAA"]])
def test_a_catalogue_that_is_no_base64_is_refused(value: object) -> None:
    members = json.loads(evidence().encode()) | {"token_catalogue": value}
    with pytest.raises(MalformedMessage):
        Evidence.decode(json.dumps(members).encode())


def test_clients_of_before_pass_over_the_catalogue() -> None:
    """They read neither the member of the JSON nor that of `user_data`; all else is as it was."""
    made = with_catalogue()
    members = json.loads(made.encode())
    assert base64.b64decode(members.pop("token_catalogue")) == CATALOGUE
    assert members.keys() == json.loads(evidence().encode()).keys()
    assert Evidence.decode(json.dumps(members).encode()) == replace(made, token_catalogue=None)
    hashes = cbor2.loads(user_data_of(made))
    assert hashes.pop("tokens") == hashlib.sha256(CATALOGUE).digest()
    assert hashes == bound_hashes()


def test_the_largest_catalogue_fits() -> None:
    largest = CATALOGUE.ljust(MAX_CATALOGUE_BYTES)
    made = with_catalogue(largest, largest)
    assert accepted(Evidence.decode(made.encode())).evidence.token_catalogue == largest
    longest = OPTIONAL_BYTES["user_data"]
    keys = spki(rsa_key("signing").public_key())
    assert len(encode_user_data(b"", keys, keys, largest)) == 187 < longest


# The second signing key


def with_ed25519(bound: bytes | None = None) -> Evidence:
    """Good evidence that has an Ed25519 key, or binds that of the SubjectPublicKeyInfo `bound`."""
    good, keys = evidence(), signing_keys("signing")
    spkis = [encode_spki(key) for key in keys.public_keys]
    user_data = encode_user_data(good.ohttp_keys, spkis[0], bound or spkis[1])
    return replace(evidence(user_data=user_data), ed25519_pem=encode_pem(keys.ed25519.public_key()))


def test_the_second_signing_key_is_bound() -> None:
    made, keys = with_ed25519(), signing_keys("signing")
    verified = accepted(Evidence.decode(made.encode()))
    assert verified.evidence == made
    identifiers = [key_identifier(key) for key in verified.signing_keys]
    assert identifiers == [key_identifier(key) for key in keys.public_keys]
    one = accepted(evidence())
    assert (one.ed25519_key, one.signing_keys) == (None, (one.signing_key,))


def test_clients_of_before_see_the_key_that_they_know() -> None:
    """They read neither the member of the JSON nor that of `user_data`, and need neither."""
    made = with_ed25519()
    members = json.loads(made.encode())
    assert members.pop("signing_key_ed25519").encode() == made.ed25519_pem
    assert Evidence.decode(json.dumps(members).encode()) == replace(made, ed25519_pem=None)
    hashes = cbor2.loads(user_data_of(made))
    assert (
        hashes.pop("signing_key_ed25519")
        == hashlib.sha256(encode_spki(signing_keys("signing").ed25519.public_key())).digest()
    )
    assert hashes == bound_hashes()


def user_data_of(made: Evidence) -> bytes:
    user_data = accepted(made).attestation.user_data
    assert user_data is not None
    return user_data


def test_a_second_signing_key_that_is_swapped_taken_away_or_added() -> None:
    made = with_ed25519()
    other = encode_pem(signing_keys("another").ed25519.public_key())
    assert refusal(replace(made, ed25519_pem=other)) == UNBOUND
    assert refusal(replace(made, ed25519_pem=None)) == UNBOUND
    assert refusal(replace(evidence(), ed25519_pem=made.ed25519_pem)) == UNBOUND
    assert refusal(with_ed25519(bound=b"another")) == UNBOUND


@pytest.mark.parametrize("key", [b"", b"PEM", pem(rsa_key("signing").public_key())])
def test_second_signing_keys_that_are_none(key: bytes) -> None:
    made = replace(with_ed25519(), ed25519_pem=key)
    assert refusal(made) == (BINDING, AttestationReason.MALFORMED)


@pytest.mark.parametrize("value", [None, 5, ["PEM"], "PÉM"])
def test_a_second_signing_key_that_is_no_text(value: object) -> None:
    members = json.loads(evidence().encode()) | {"signing_key_ed25519": value}
    with pytest.raises(MalformedMessage):
        Evidence.decode(json.dumps(members).encode())


def ec_pem() -> bytes:
    public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "signing_key",
    [b"", b"-----BEGIN PUBLIC KEY-----\n", ec_pem(), b"-----BEGIN"],
    ids=["empty", "cut off", "elliptic", "a beginning"],
)
def test_signing_keys_that_are_none(signing_key: bytes) -> None:
    made = replace(evidence(), signing_key_pem=signing_key)
    assert refusal(made) == (BINDING, AttestationReason.MALFORMED)


@pytest.mark.parametrize("bits", [1024, 2047, 4097])
def test_signing_keys_of_another_size(bits: int) -> None:
    public_key = rsa.RSAPublicNumbers(65537, (1 << bits - 1) + 1).public_key()
    made = replace(evidence(), signing_key_pem=pem(public_key))
    assert refusal(made) == (BINDING, AttestationReason.MALFORMED)


def test_malformed_key_configurations() -> None:
    made = replace(evidence(), ohttp_keys=b"\x00")
    assert refusal(made) == (BINDING, AttestationReason.MALFORMED)


# Platforms


def test_a_simulated_platform_is_refused() -> None:
    assert refusal(simulated(), root=root()) == PLATFORM
    with pytest.raises(AttestationError) as caught:
        verify_evidence(simulated(), now=NOW)
    assert outcome(caught.value) == PLATFORM


def test_a_simulated_platform_is_accepted_with_its_own_root() -> None:
    made = simulated()
    verified = accepted(made, root=simulated_root(made.document), nonce=NONCE)
    assert verified.attestation.module_id.startswith("simulated-")


def test_a_simulated_document_under_another_simulated_root() -> None:
    assert refusal(simulated(), root=simulated_root(simulated().document)) == (
        AttestationStep.CHAIN,
        AttestationReason.CHAIN,
    )


def test_a_simulated_document_that_calls_itself_real() -> None:
    made = replace(simulated(), platform=Platform.AWS_NITRO)
    assert refusal(made, root=simulated_root(made.document)) == PLATFORM
    assert refusal(made)[0] is AttestationStep.CHAIN


def test_a_real_document_that_calls_itself_simulated() -> None:
    made = replace(evidence(), platform=Platform.SIMULATED)
    assert refusal(made) == PLATFORM
    with pytest.raises(AttestationError) as caught:
        simulated_root(made.document)
    assert outcome(caught.value) == PLATFORM


def test_a_real_root_does_not_vouch_for_a_simulated_module() -> None:
    assert refusal(evidence(module_id="simulated-0123")) == PLATFORM


def test_a_simulated_root_does_not_vouch_for_a_real_module() -> None:
    path = changed_path("root", subject="simulated-0123")
    made = replace(evidence(path), platform=Platform.SIMULATED)
    assert refusal(made, root=path[0])[0] is AttestationStep.CHAIN  # the name does not chain
    with pytest.raises(AttestationError):
        simulated_root(made.document)


def test_a_simulated_root_is_bound_to_its_module() -> None:
    """A document may not bring along the root of somebody else."""
    for made in (document(module_id="simulated-0123"), b"", b"\x00", evidence().document):
        with pytest.raises(AttestationError):
            simulated_root(made)


def test_a_simulated_root_whose_name_is_not_text() -> None:
    path = changed_path("root", subject="simulated-0123", issuer="simulated-0123")
    broken = path[0].replace(b"simulated-", b"simulated\xff")
    with pytest.raises(AttestationError) as caught:
        simulated_root(document((broken, *path[1:]), module_id="simulated-0123"))
    assert outcome(caught.value) == PLATFORM


def test_a_root_without_a_name() -> None:
    path = changed_path("root", subject="", issuer="")
    assert refusal(evidence(path), root=path[0])[0] is AttestationStep.CHAIN


def test_a_simulated_root_vouches_for_no_real_module() -> None:
    module = SimulatedSecurityModule(now=NOW.timestamp)
    module.module_id = "i-0abc123-enc0abc123"
    good = evidence()
    user_data = encode_user_data(good.ohttp_keys, spki(rsa_key("signing").public_key()))
    made = replace(good, document=module.attest(user_data, gateway_key(2).config.encode(), NONCE))
    assert made.platform is Platform.AWS_NITRO
    assert refusal(made, root=module.root) == PLATFORM


# Keys of two mechanisms: the document has room for the shorter, its hash binds both.

NEWEST = [GatewayKey.generate(3, X_WING), GatewayKey.generate(4)]
OLDER = [GatewayKey.generate(1, X_WING), GatewayKey.generate(2)]


def attested(*keys: GatewayKey) -> Evidence:
    """Return evidence of these keys as an enclave makes it."""
    attester = Attester(SimulatedSecurityModule(now=NOW.timestamp), signing_keys("signing"))
    return attester.attest(encode_key_configs([key.config for key in keys]))


def with_keys(made: Evidence, *keys: GatewayKey) -> Evidence:
    return replace(made, ohttp_keys=encode_key_configs([key.config for key in keys]))


def test_clients_seal_to_the_newest_x_wing_key_that_is_attested() -> None:
    for keys, chosen in (
        ([*NEWEST, *OLDER], NEWEST[0]),
        ([*reversed(NEWEST), *reversed(OLDER)], NEWEST[0]),
        ([NEWEST[1], *OLDER], OLDER[0]),
        ([NEWEST[1]], NEWEST[1]),
    ):
        made = attested(*keys)
        verified = accepted(made, root=simulated_root(made.document))
        assert verified.sealing_config == chosen.config


def test_nobody_on_the_way_can_take_a_mechanism_out_of_the_list() -> None:
    made = attested(*NEWEST, *OLDER)
    trusted = simulated_root(made.document)
    stripped = [
        [NEWEST[1], *OLDER],
        [NEWEST[1], OLDER[1]],
        [NEWEST[1]],
        [NEWEST[0]],
        [NEWEST[1], NEWEST[0], *OLDER],
        [GatewayKey.generate(3, X_WING), NEWEST[1], *OLDER],
    ]
    for keys in stripped:
        assert refusal(with_keys(made, *keys), root=trusted) == UNBOUND
    assert accepted(with_keys(made, *NEWEST, *OLDER), root=trusted)


def test_a_client_of_before_verifies_the_same_evidence(
    request: pytest.FixtureRequest,
) -> None:
    """One that does not know X-Wing skips it, and finds its key in the document."""
    made = attested(*NEWEST, *OLDER)
    request.getfixturevalue("without_x_wing")
    verified = accepted(made, root=simulated_root(made.document))
    assert verified.key_configs == (NEWEST[1].config, OLDER[1].config)
    assert verified.attestation.public_key == verified.key_configs[0].encode()
    sealed, _ = encapsulate_request(verified.key_configs[0], b"request")
    assert sealed[1:3] == X25519_HKDF_SHA256.code.to_bytes(2)
    assert decapsulate_request([*NEWEST, *OLDER], sealed)[0] == b"request"


def test_a_list_of_x_wing_alone_is_bound_by_no_document() -> None:
    with pytest.raises(ValueError, match="fits"):
        attested(NEWEST[0])
    made = attested(*NEWEST)
    keys = encode_key_configs([NEWEST[0].config])
    spkis = [encode_spki(key) for key in signing_keys("signing").public_keys]
    module = SimulatedSecurityModule(now=NOW.timestamp)
    for public_key in (None, NEWEST[1].config.encode()):
        user_data = encode_user_data(keys, *spkis)
        document = module.attest(user_data, public_key, None)
        forged = replace(made, document=document, ohttp_keys=keys)
        assert refusal(forged, root=simulated_root(document)) == UNBOUND
