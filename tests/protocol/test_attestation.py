"""Each step of verification, on documents that are wrong in exactly one way."""

import struct
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from protocol import attestation, cose
from protocol.attestation import (
    AWS_ROOT_G1,
    AttestationError,
    AttestationReason,
    AttestationStep,
    decode_attestation,
    parse_pcrs,
    verify_attestation,
)
from protocol.certificates import MAX_PATH_CERTIFICATES
from protocol.errors import ProtocolError
from tests.support.attestation_samples import (
    MODULE_ID,
    NONCE,
    NOW,
    PCRS,
    Certificate,
    certificates,
    changed_path,
    document,
    fields,
    key,
    outcome,
    path_der,
    root,
    rsa_key,
    signed,
    usage,
)

MALFORMED = AttestationStep.COSE_SIGN1, AttestationReason.MALFORMED
SIGNATURE = AttestationStep.COSE_SIGN1, AttestationReason.SIGNATURE
CHAIN = AttestationStep.CHAIN, AttestationReason.CHAIN
EXPIRED = AttestationStep.CHAIN, AttestationReason.EXPIRED
PCR = AttestationStep.MEASUREMENTS, AttestationReason.PCR_MISMATCH
DEBUG = AttestationStep.MEASUREMENTS, AttestationReason.DEBUG_MODE
OTHER_NONCE = AttestationStep.FRESHNESS, AttestationReason.NONCE_MISMATCH
STALE = AttestationStep.FRESHNESS, AttestationReason.STALE


def refusal(data: bytes, **arguments: Any) -> tuple[AttestationStep, AttestationReason]:
    with pytest.raises(AttestationError) as caught:
        accepted(data, **arguments)
    return outcome(caught.value)


def accepted(data: bytes, **arguments: Any) -> attestation.Attestation:
    given: dict[str, Any] = {"now": NOW, "root": root()}
    return verify_attestation(data, **(given | arguments))


# What is returned


def test_everything_that_a_document_says_is_returned() -> None:
    data = document(public_key=b"key", user_data=b"data")
    verified = accepted(data, pcrs=PCRS, nonce=NONCE, max_age=1)
    assert verified == decode_attestation(data)
    assert verified.module_id == MODULE_ID
    assert verified.timestamp == int(NOW.timestamp() * 1000)
    assert verified.digest == "SHA384"
    assert verified.pcrs == PCRS
    assert (*verified.cabundle, verified.certificate) == path_der()
    assert (verified.public_key, verified.user_data, verified.nonce) == (b"key", b"data", NONCE)


def test_what_is_returned_cannot_be_changed() -> None:
    verified = accepted(document())
    with pytest.raises(FrozenInstanceError):
        verified.module_id = "another"  # type: ignore[misc]  # that it is forbidden is the test
    with pytest.raises(TypeError):
        verified.pcrs[0] = bytes(48)  # type: ignore[index]  # that it is forbidden is the test


@pytest.mark.parametrize("name", ["public_key", "user_data", "nonce"])
@pytest.mark.parametrize(("value", "read"), [(None, None), (b"", b""), (..., None)])
def test_optional_fields_may_be_null_empty_or_absent(
    name: str, value: object, read: bytes | None
) -> None:
    changes: dict[str, Any] = {name: value}
    assert getattr(accepted(document(**changes)), name) == read


def test_a_root_may_be_der_pem_or_an_object() -> None:
    certificate = x509.load_der_x509_certificate(root())
    for form in (root(), certificate.public_bytes(Encoding.PEM), certificate):
        assert accepted(document(), root=form)


def test_a_time_may_be_in_any_zone_or_in_unix_seconds() -> None:
    for now in (
        NOW.astimezone(timezone(timedelta(hours=9))),
        NOW.timestamp(),
        int(NOW.timestamp()),
    ):
        assert accepted(document(), now=now, max_age=0)


@pytest.mark.parametrize("now", [NOW.replace(tzinfo=None), float("nan"), float("inf")])
def test_a_time_that_is_none_is_the_callers_mistake(now: datetime | float) -> None:
    with pytest.raises(ValueError, match="time"):
        verify_attestation(document(), now=now, root=root())


def test_aws_root_is_the_default() -> None:
    assert AWS_ROOT_G1.fingerprint(SHA256()).hex() == (
        "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
    )
    with pytest.raises(AttestationError) as caught:
        verify_attestation(document(), now=NOW)
    assert outcome(caught.value) == CHAIN


# Step 1: the form of the message


def cose_array(**changes: Any) -> list[Any]:
    message = cose.CoseSign1.decode(document())
    parts = {
        "protected": message.protected,
        "unprotected": {},
        "payload": message.payload,
        "signature": message.signature,
    }
    return list((parts | changes).values())


def test_tagged_and_untagged_messages_are_the_same() -> None:
    assert accepted(b"\xd2" + document()) == accepted(document())


def test_an_indefinite_map_is_the_same_as_a_definite_one() -> None:
    payload = cbor2.dumps(fields())
    assert payload[0] == 0xA9
    indefinite = signed(b"\xbf" + payload[1:] + b"\xff")
    assert accepted(indefinite) == accepted(document())


def test_high_and_low_s_are_both_accepted() -> None:
    order = int(
        "ffffffffffffffffffffffffffffffffffffffffffffffff"
        "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    )
    message = cose.CoseSign1.decode(document())
    s = int.from_bytes(message.signature[48:], "big")
    mirrored = message.signature[:48] + (order - s).to_bytes(48, "big")
    assert accepted(cbor2.dumps(cose_array(signature=mirrored, payload=message.payload)))


MESSAGES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"not CBOR at all",
    "another tag": lambda: b"\xd1" + document(),
    "the tag twice": lambda: b"\xd2\xd2" + document(),
    "the tag in two bytes": lambda: b"\xd8\x12" + document(),
    "a trailing byte": lambda: document() + b"\x00",
    "three parts": lambda: cbor2.dumps(cose_array()[:3]),
    "five parts": lambda: cbor2.dumps([*cose_array(), b""]),
    "a map": lambda: cbor2.dumps(dict(enumerate(cose_array()))),
    "detached payload": lambda: cbor2.dumps(cose_array(payload=None)),
    "empty payload": lambda: cbor2.dumps(cose_array(payload=b"")),
    "payload as text": lambda: cbor2.dumps(cose_array(payload="text")),
    "payload too large": lambda: signed(bytes(16385)),
    "message too large": lambda: cbor2.dumps(cose_array(unprotected={1: bytes(17000)})),
    "protected as map": lambda: cbor2.dumps(cose_array(protected={1: -35})),
    "no protected header": lambda: cbor2.dumps(cose_array(protected=b"")),
    "empty protected header": lambda: cbor2.dumps(cose_array(protected=b"\xa0")),
    "ES256": lambda: cbor2.dumps(cose_array(protected=cbor2.dumps({1: -7}))),
    "ES512": lambda: cbor2.dumps(cose_array(protected=cbor2.dumps({1: -36}))),
    "algorithm as text": lambda: cbor2.dumps(cose_array(protected=cbor2.dumps({1: "ES384"}))),
    "two algorithms": lambda: cbor2.dumps(cose_array(protected=b"\xa2\x01\x38\x22\x01\x38\x22")),
    "critical header": lambda: cbor2.dumps(cose_array(protected=cbor2.dumps({1: -35, 2: [4]}))),
    "trailing in protected": lambda: cbor2.dumps(cose_array(protected=b"\xa1\x01\x38\x22\x00")),
    "algorithm unprotected": lambda: cbor2.dumps(
        cose_array(protected=b"\xa0", unprotected={1: -35})
    ),
    "unprotected key": lambda: cbor2.dumps(cose_array(unprotected={4: b"key"})),
    "unprotected list": lambda: cbor2.dumps(cose_array(unprotected=[])),
    "short signature": lambda: cbor2.dumps(cose_array(signature=bytes(95))),
    "DER signature": lambda: cbor2.dumps(
        cose_array(signature=key("leaf").sign(b"", ec.ECDSA(SHA384())))
    ),
}


@pytest.mark.parametrize("make", MESSAGES.values(), ids=MESSAGES)
def test_malformed_messages(make: Callable[[], bytes]) -> None:
    assert refusal(make()) == MALFORMED


CONTENTS: dict[str, dict[str, Any]] = {
    "no module_id": {"module_id": ...},
    "empty module_id": {"module_id": ""},
    "module_id as bytes": {"module_id": b"i-0"},
    "module_id that moves the cursor": {"module_id": "i-0\x1b[2J"},
    "no digest": {"digest": ...},
    "SHA256": {"digest": "SHA256"},
    "digest in lower case": {"digest": "sha384"},
    "no timestamp": {"timestamp": ...},
    "timestamp zero": {"timestamp": 0},
    "negative timestamp": {"timestamp": -1},
    "timestamp true": {"timestamp": True},
    "timestamp with a fraction": {"timestamp": 1.5},
    "timestamp as text": {"timestamp": "1714564800000"},
    "no pcrs": {"pcrs": ...},
    "empty pcrs": {"pcrs": {}},
    "pcrs as list": {"pcrs": [bytes(48)]},
    "33 pcrs": {"pcrs": {index: bytes(48) for index in range(33)}},
    "PCR 32": {"pcrs": {32: bytes(48)}},
    "PCR -1": {"pcrs": {-1: bytes(48)}},
    "PCR named by text": {"pcrs": {"0": bytes(48)}},
    "PCR of SHA-256": {"pcrs": {0: bytes(32)}},
    "PCR of SHA-512": {"pcrs": {0: bytes(64)}},
    "PCR of 47 bytes": {"pcrs": {0: bytes(47)}},
    "PCR as text": {"pcrs": {0: "00" * 48}},
    "no certificate": {"certificate": ...},
    "null certificate": {"certificate": None},
    "empty certificate": {"certificate": b""},
    "large certificate": {"certificate": bytes(1025)},
    "certificate that is none": {"certificate": b"0\x82\x02\x7d"},
    "no cabundle": {"cabundle": ...},
    "null cabundle": {"cabundle": None},
    "empty cabundle": {"cabundle": []},
    "empty cabundle entry": {"cabundle": [b""]},
    "large cabundle entry": {"cabundle": [bytes(1025)]},
    "cabundle entry as text": {"cabundle": ["certificate"]},
    "large public_key": {"public_key": bytes(1025)},
    "public_key as text": {"public_key": "key"},
    "large user_data": {"user_data": bytes(1025)},
    "user_data as map": {"user_data": {}},
    "large nonce": {"nonce": bytes(1025)},
    "nonce as number": {"nonce": 1},
    "an unknown field": {"trust": True},
}


@pytest.mark.parametrize("changes", CONTENTS.values(), ids=CONTENTS)
def test_malformed_contents(changes: dict[str, Any]) -> None:
    assert refusal(document(**changes)) == MALFORMED


LARGEST: list[dict[str, Any]] = [
    {"public_key": bytes(1024)},
    {"user_data": bytes(1024)},
    {"nonce": bytes(1024)},
    {"pcrs": dict.fromkeys(range(32), b"\x01" * 48)},
    {"pcrs": {31: b"\x01" * 48, 0: b"\x01" * 48}},
]


@pytest.mark.parametrize("changes", LARGEST)
def test_the_largest_values_are_accepted(changes: dict[str, Any]) -> None:
    assert accepted(document(**changes))


PAYLOADS = {
    "a list": cbor2.dumps([1]),
    "a trailing byte": cbor2.dumps(fields()) + b"\x00",
    "a duplicate field": b"\xaa" + cbor2.dumps(fields())[1:] + b"\x65nonce\xf6",
    "a duplicate PCR": cbor2.dumps(fields()).replace(b"\x01\x58\x30", b"\x00\x58\x30", 1),
    "no break": b"\xbf" + cbor2.dumps(fields())[1:],
    "bytes after the break": b"\xbf" + cbor2.dumps(fields())[1:] + b"\xff\x00",
    "a tag around it": b"\xd2" + cbor2.dumps(fields()),
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_malformed_payloads(payload: bytes) -> None:
    assert refusal(signed(payload)) == MALFORMED


def test_a_leaf_with_another_kind_of_key() -> None:
    for other in (ec.generate_private_key(ec.SECP256R1()), rsa_key("leaf")):
        assert refusal(document(changed_path("leaf", key=other))) == MALFORMED


# Step 1: the signature


def test_a_signature_by_another_key() -> None:
    assert refusal(signed(cbor2.dumps(fields()), signer="another")) == SIGNATURE


@pytest.mark.parametrize("half", [slice(0, 48), slice(48, 96)])
@pytest.mark.parametrize("value", [bytes(48), b"\xff" * 48])
def test_numbers_out_of_range_are_no_signature(half: slice, value: bytes) -> None:
    signature = bytearray(cose.CoseSign1.decode(document()).signature)
    signature[half] = value
    assert refusal(cbor2.dumps(cose_array(signature=bytes(signature)))) == SIGNATURE


# Step 2: the path


def self_made(subject: str) -> x509.ExtensionType:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


CURVE = ec.SECP256R1()
PATHS: dict[str, Callable[[], tuple[bytes, ...]]] = {
    "root left out": lambda: path_der()[1:],
    "first authority left out": lambda: (path_der()[0], *path_der()[2:]),
    "last authority left out": lambda: (*path_der()[:2], path_der()[3]),
    "all authorities left out": lambda: (path_der()[0], path_der()[3]),
    "authorities exchanged": lambda: tuple(path_der()[place] for place in (0, 2, 1, 3)),
    "leaf first": lambda: (path_der()[3], *path_der()),
    "an authority twice": lambda: (*path_der()[:2], path_der()[1], *path_der()[2:]),
    "root twice": lambda: (path_der()[0], *path_der()),
    "a path without end": lambda: (*path_der()[:1] * MAX_PATH_CERTIFICATES, path_der()[-1]),
    "a look-alike root": lambda: changed_path("root", key=key("x"), signer=key("x")),
    "an unreadable authority": lambda: (path_der()[0], b"\x30\x00", *path_der()[2:]),
    "bytes after a certificate": lambda: (path_der()[0], path_der()[1] + b"\x00", *path_der()[2:]),
    "an authority of its own": lambda: changed_path("region", signer=key("region")),
    "signed by somebody else": lambda: changed_path("zone", signer=key("x")),
    "leaf signed by the root": lambda: changed_path("leaf", signer=key("root")),
    "issuer's name is another": lambda: changed_path("zone", issuer="elsewhere"),
    "no authority (false)": lambda: changed_path("zone", ca=False, path_length=None),
    "no authority (absent)": lambda: changed_path("zone", ca=None),
    "path length 0 above two": lambda: changed_path("region", path_length=0),
    "may not sign certificates": lambda: changed_path("zone", usage=usage("digital_signature")),
    "no key usage": lambda: changed_path("zone", usage=None),
    "SHA-256": lambda: changed_path("zone", digest=SHA256()),
    "an authority on P-256": lambda: changed_path("zone", key=ec.generate_private_key(CURVE)),
    "an authority with RSA": lambda: changed_path("zone", key=rsa_key("zone")),
    "an unknown critical extension": lambda: changed_path("zone", more=[(self_made("x"), True)]),
    "critical name constraints": lambda: changed_path(
        "zone", more=[(x509.NameConstraints([x509.DNSName("example")], None), True)]
    ),
    "leaf is an authority": lambda: changed_path("leaf", ca=True),
    "leaf may not sign": lambda: changed_path("leaf", usage=usage("key_cert_sign")),
    "leaf without key usage": lambda: changed_path("leaf", usage=None),
    "leaf with an unknown critical extension": lambda: changed_path(
        "leaf", more=[(self_made("x"), True)]
    ),
}


@pytest.mark.parametrize("make", PATHS.values(), ids=PATHS)
def test_wrong_paths(make: Callable[[], tuple[bytes, ...]]) -> None:
    assert refusal(document(make())) == CHAIN


def version_1(der: bytes) -> bytes:
    """Leave the version out, which makes it version 1."""
    version = bytes.fromhex("a003020102")
    assert der[8:13] == version
    outer, inner = (int.from_bytes(der[at : at + 2], "big") - 5 for at in (2, 6))
    heads = struct.pack("!HHHH", 0x3082, outer, 0x3082, inner)
    return heads + der[13:]


def test_a_certificate_of_version_1() -> None:
    old = version_1(path_der()[2])
    assert refusal(document((*path_der()[:2], old, path_der()[3]))) == CHAIN


def test_a_root_that_is_pinned_must_itself_be_right() -> None:
    for changes in ({"ca": False}, {"path_length": 1}, {"usage": usage("crl_sign")}):
        path = changed_path("root", **changes)
        assert refusal(document(path), root=path[0]) == CHAIN
    path = changed_path("root", path_length=2)
    assert accepted(document(path), root=path[0])


RIGHT_PATHS: dict[str, Callable[[], tuple[bytes, ...]]] = {
    "no path length": lambda: changed_path("zone", path_length=None),
    "a larger path length": lambda: changed_path("region", path_length=5),
    "an unknown extension": lambda: changed_path("zone", more=[(self_made("x"), False)]),
    "leaf without basic constraints": lambda: changed_path("leaf", ca=None),
}


@pytest.mark.parametrize("make", RIGHT_PATHS.values(), ids=RIGHT_PATHS)
def test_right_paths(make: Callable[[], tuple[bytes, ...]]) -> None:
    assert accepted(document(make()))


def test_the_shortest_path_is_root_and_leaf() -> None:
    leaf = Certificate(
        "leaf", "root", key("leaf"), key("root"), ca=False, usage=usage("digital_signature")
    )
    assert accepted(document((root(), leaf.der())))


@pytest.mark.parametrize("place", certificates())
def test_every_certificate_must_be_valid_at_the_time_given(place: str) -> None:
    start, end = NOW - timedelta(minutes=5), NOW + timedelta(minutes=5)
    path = changed_path(place, start=start, end=end)
    data = document(path)
    second = timedelta(seconds=1)
    for moment in (start, end):
        assert accepted(data, root=path[0], now=moment)
    for moment in (start - second, end + second):
        assert refusal(data, root=path[0], now=moment) == EXPIRED


# Step 3: measurements


def test_pins_are_bytes_or_hexadecimal() -> None:
    assert accepted(document(), pcrs={0: PCRS[0], 2: PCRS[2].hex()})
    assert accepted(document(), pcrs={2: PCRS[2].hex().upper()})


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_register_that_differs_in_one_bit(index: int) -> None:
    altered = bytes([PCRS[index][0] ^ 1]) + PCRS[index][1:]
    assert refusal(document(), pcrs=PCRS | {index: altered}) == PCR
    assert refusal(document(pcrs=PCRS | {index: altered}), pcrs=PCRS) == PCR


def test_a_register_that_the_document_lacks() -> None:
    assert refusal(document(), pcrs={8: bytes(48)}) == PCR


def test_debug_mode_is_refused_unless_allowed() -> None:
    zeros = PCRS | dict.fromkeys(range(3), bytes(48))
    for pcrs in (zeros, {3: b"\x01" * 48}, {0: bytes(48)}):
        assert refusal(document(pcrs=pcrs)) == DEBUG
        assert accepted(document(pcrs=pcrs), allow_debug=True)
    assert refusal(document(pcrs=zeros), pcrs={0: bytes(48)}) == DEBUG
    assert refusal(document(pcrs=zeros), pcrs=PCRS, allow_debug=True) == PCR


@pytest.mark.parametrize("index", [0, 1, 2])
def test_one_register_that_is_set_is_not_debug_mode(index: int) -> None:
    zeros = dict.fromkeys(range(3), bytes(48))
    assert accepted(document(pcrs=zeros | {index: bytes(47) + b"\x01"}))


@pytest.mark.parametrize(
    "pins", [{}, {32: bytes(48)}, {-1: bytes(48)}, {0: bytes(32)}, {0: "00"}, {0: "zz" * 48}]
)
def test_pins_that_pin_nothing_are_the_callers_mistake(pins: dict[int, bytes | str]) -> None:
    with pytest.raises(ValueError, match=r"PCR|hex"):
        accepted(document(), pcrs=pins)


BUILD_OUTPUT: dict[str, object] = {
    "Measurements": {
        "HashAlgorithm": "Sha384 { ... }",
        "PCR0": PCRS[0].hex(),
        "PCR1": PCRS[1].hex(),
        "PCR2": PCRS[2].hex(),
        "PCR8": "ff" * 48,
    }
}


def test_pins_as_nitro_cli_prints_them() -> None:
    pins = parse_pcrs(BUILD_OUTPUT)
    assert pins == {0: PCRS[0], 1: PCRS[1], 2: PCRS[2], 8: b"\xff" * 48}
    assert parse_pcrs({"PCR2": PCRS[2].hex()}) == {2: PCRS[2]}
    assert accepted(document(pcrs=PCRS | {8: b"\xff" * 48}), pcrs=pins)


@pytest.mark.parametrize(
    "measurements",
    [
        {},
        {"HashAlgorithm": "Sha384 { ... }"},
        {"Measurements": {}},
        {"Measurements": "PCR0"},
        {"PCR0": None},
        {"PCR0": "00"},
        {"PCR0": "x" * 96},
        {"PCR32": "00" * 48},
    ],
)
def test_pins_that_cannot_be_read(measurements: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"PCR|hex|Measurements"):
        parse_pcrs(measurements)


# Step 4: freshness


@pytest.mark.parametrize("nonce", [b"", b"another", NONCE[:-1], NONCE + b"\x00"])
def test_another_nonce(nonce: bytes) -> None:
    assert refusal(document(), nonce=nonce) == OTHER_NONCE


@pytest.mark.parametrize("nonce", [None, b"", ...])
def test_no_nonce(nonce: object) -> None:
    assert refusal(document(nonce=nonce), nonce=NONCE) == OTHER_NONCE


def test_age() -> None:
    minute = timedelta(minutes=1)
    assert accepted(document(), now=NOW + minute, max_age=60)
    assert refusal(document(), now=NOW + minute, max_age=59) == STALE
    assert accepted(document(), now=NOW + minute)


def test_a_document_from_the_future() -> None:
    ahead = attestation.CLOCK_SKEW_SECONDS * 1000
    timestamp = int(NOW.timestamp() * 1000) + ahead
    assert accepted(document(timestamp=timestamp), max_age=60)
    assert refusal(document(timestamp=timestamp + 1), max_age=60) == STALE
    assert refusal(document(timestamp=(1 << 64) - 1), max_age=60) == STALE


# The order of the steps, and what else is raised


def test_the_first_step_that_fails_is_the_one_that_is_named() -> None:
    wrong: dict[str, Any] = {
        "now": NOW + timedelta(days=1),
        "pcrs": {0: bytes(48)},
        "nonce": b"another",
    }
    assert refusal(signed(cbor2.dumps(fields()), "another"), **wrong) == SIGNATURE
    assert refusal(document(), **wrong) == EXPIRED
    del wrong["now"]
    assert refusal(document(), **wrong) == PCR
    del wrong["pcrs"]
    assert refusal(document(), **wrong, max_age=-1) == OTHER_NONCE


def test_errors_are_of_one_root() -> None:
    assert issubclass(AttestationError, ProtocolError)


@given(st.binary(max_size=256))
def test_arbitrary_bytes_raise_attestation_error_alone(data: bytes) -> None:
    for prefix in (b"", b"\xd2", b"\x84\x44\xa1\x01\x38\x22\xa0", document()[:8]):
        with pytest.raises(AttestationError):
            verify_attestation(prefix + data, now=NOW, root=root())


@given(st.binary(max_size=256))
def test_arbitrary_signed_payloads_raise_attestation_error_alone(payload: bytes) -> None:
    with pytest.raises(AttestationError):
        verify_attestation(signed(payload or b"\x00"), now=NOW, root=root())


@given(st.data())
def test_mutated_documents_raise_attestation_error_alone(data: st.DataObject) -> None:
    original = document()
    start = data.draw(st.integers(0, len(original) - 1))
    end = data.draw(st.integers(start, min(start + 8, len(original))))
    mutated = original[:start] + data.draw(st.binary(max_size=8)) + original[end:]
    if mutated.removeprefix(cose.TAG_COSE_SIGN1) != original:
        with pytest.raises(AttestationError):
            verify_attestation(mutated, now=NOW, root=root())


@given(st.data())
def test_mutated_certificates_raise_attestation_error_alone(data: st.DataObject) -> None:
    """With a document signature that is right, so that the path is what refuses."""
    place = data.draw(st.integers(0, len(path_der()) - 1))
    der = path_der()[place]
    at = data.draw(st.integers(0, len(der) - 1))
    altered = der[:at] + bytes([der[at] ^ data.draw(st.integers(1, 255))]) + der[at + 1 :]
    path = (*path_der()[:place], altered, *path_der()[place + 1 :])
    with pytest.raises(AttestationError):
        verify_attestation(document(path), now=NOW, root=root())


def test_an_aware_now_is_not_rounded() -> None:
    moment = datetime(2026, 5, 1, 12, 0, 0, 500_000, tzinfo=UTC)
    assert refusal(document(), now=moment, max_age=0.4) == STALE
    assert accepted(document(), now=moment, max_age=0.5)
