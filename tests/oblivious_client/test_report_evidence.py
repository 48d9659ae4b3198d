"""Reports of evidence: each fact under its name, for people and for programs."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from oblivious_client import report
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.policy import Policy, Simulated
from protocol.attestation import Attestation
from protocol.encapsulation import GatewayKey
from protocol.evidence import Evidence, Platform, VerifiedEvidence
from protocol.key_config import KeyConfig
from protocol.signature import SigningKeys, key_identifier
from tests.support.private_tokens import catalogue

MADE = 1_700_000_000
RELAY = Endpoint.parse(Role.RELAY, "https://relay.example/")
GATEWAY = Endpoint.parse(Role.GATEWAY, "https://gateway.example/")
KEY = GatewayKey.generate(7).config
KEYS = SigningKeys.generate()
RSA, ED25519 = KEYS.public_keys
PCRS = {0: b"\1" * 48, 1: b"\2" * 48, 2: bytes(48), 3: bytes(48), 4: b"\4" * 48, 8: bytes(48)}
PINNED = Policy(pcrs={0: PCRS[0], 4: PCRS[4], 8: PCRS[8]})


def verified(platform: Platform = Platform.AWS_NITRO, nonce: bytes | None = None) -> Any:
    attestation = Attestation(
        "i-1-enc2",
        1000 * MADE + 250,
        "SHA384",
        PCRS,
        b"leaf",
        (b"1", b"2", b"3"),
        None,
        None,
        nonce,
    )
    evidence = Evidence(b"document", b"keys", b"pem", platform)
    return VerifiedEvidence(attestation, (KEY,), RSA, evidence, ED25519)


def facts(text: str) -> list[tuple[str, str]]:
    return [(line[:13].strip(), line[14:]) for line in text.split("\n")]


def test_all_facts_are_told_to_people_each_under_its_name() -> None:
    text = report.as_text(verified(), PINNED, RELAY, now=MADE + 61, kept=6)
    rsa, ed25519 = key_identifier(RSA), key_identifier(ED25519)
    assert facts(text) == [
        ("address", str(RELAY)),
        ("copy", "the relay's, kept for 6 s: whether the gateway answers now it does not show"),
        ("platform", "aws-nitro"),
        ("module", "i-1-enc2"),
        ("signature", "ES384, holds"),
        ("chain", "4 certificates lead to the AWS Nitro Enclaves root G1"),
        ("made", "2023-11-14 22:13:20 UTC, 61 s old (at most 3600 s)"),
        ("nonce", "none: one for everybody"),
        ("PCR0", "01" * 48 + " as pinned"),
        ("PCR1", "02" * 48 + " NOT PINNED"),
        ("PCR2", "00" * 48 + " NOT PINNED"),
        ("PCR4", "04" * 48 + " as pinned"),
        ("keys", "the SHA-256 in the document matches the key configurations"),
        ("signing key", "rsa-pss-sha256: the SHA-256 in the document matches"),
        ("signing key", "ed25519: the SHA-256 in the document matches"),
        ("seal to", "key 7, X25519-HKDF-SHA256, HKDF-SHA256, CHACHA20-POLY1305"),
        ("tee_id", f"{rsa} (rsa-pss-sha256)"),
        ("tee_id", f"{ed25519} (ed25519)"),
    ]


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (None, "the relay does not say for how long it has kept this"),
        (0, "fetched from the gateway now"),
        (5, "fetched from the gateway now"),
        (6, "the relay's, kept for 6 s: whether the gateway answers now it does not show"),
    ],
)
def test_how_old_a_relay_s_copy_is(kept: int | None, said: str) -> None:
    told = facts(report.as_text(verified(), PINNED, RELAY, now=MADE, kept=kept))
    assert dict(told)["copy"] == said
    for endpoint in (GATEWAY, None):
        told = facts(report.as_text(verified(), PINNED, endpoint, now=MADE, kept=kept))
        assert "copy" not in dict(told)
        assert ("address" in dict(told)) is (endpoint is GATEWAY)


@pytest.mark.parametrize(
    ("found", "ours", "said"),
    [
        (None, None, "none: one for everybody"),
        (b"nonce", None, "another's: made for somebody else"),
        (b"nonce", b"nonce", "ours: made for this request"),
    ],
)
def test_for_whom_a_document_was_made(found: bytes | None, ours: bytes | None, said: str) -> None:
    text = report.as_text(verified(nonce=found), PINNED, None, now=MADE, nonce=ours)
    assert dict(facts(text))["nonce"] == said


def test_a_simulated_enclave_is_called_one_wherever_it_is_told_of() -> None:
    found, policy = verified(Platform.SIMULATED), Policy(simulated=Simulated.ALLOWED)
    told = facts(report.as_text(found, policy, None, now=MADE))
    assert told[:2] == [("platform", "simulated"), ("", report.SIMULATED_WARNING)]
    assert dict(told)["chain"] == "4 certificates lead to its own throw-away root"
    line, warning = report.as_line(found, policy, now=MADE).split("\n")
    assert warning == report.SIMULATED_WARNING
    assert "code: not pinned" in line
    assert report.verdict(found) == "every check holds, but a simulated enclave proves nothing"
    assert report.as_json(found, policy, None, now=MADE)["is_simulated"] is True


def test_one_line_stands_before_an_answer() -> None:
    assert report.as_line(verified(), PINNED, now=MADE + 2.6) == (
        "verified: aws-nitro document, 2 s old; code: 2 pinned measurements match; "
        "sealing to attested key 7"
    )
    assert "document, 0 s old" in report.as_line(verified(), PINNED, now=MADE - 5)
    assert report.verdict(verified()) == "every check holds"


def test_programs_get_the_same_as_json() -> None:
    found = report.as_json(verified(nonce=b"\xab"), PINNED, RELAY, now=MADE + 1.5, kept=3)
    assert found == {
        "verified": True,
        "address": str(RELAY),
        "platform": "aws-nitro",
        "is_simulated": False,
        "module_id": "i-1-enc2",
        "timestamp": MADE + 0.25,
        "age_seconds": 1.25,
        "max_age_seconds": 3600,
        "copy_seconds": 3,
        "nonce": "ab",
        "certificates": 4,
        "pcrs": {
            "PCR0": {"value": "01" * 48, "pinned": True},
            "PCR1": {"value": "02" * 48, "pinned": False},
            "PCR2": {"value": "00" * 48, "pinned": False},
            "PCR4": {"value": "04" * 48, "pinned": True},
        },
        "keys": [report.describe_key(KEY)],
        "seal_to": 7,
        "tee_id": key_identifier(RSA),
        "tee_ids": {"rsa-pss-sha256": key_identifier(RSA), "ed25519": key_identifier(ED25519)},
        "tokens": None,
    }
    bare = report.as_json(verified(), Policy(), None, now=MADE + 1.5)
    assert (bare["address"], bare["nonce"], bare["copy_seconds"]) == (None, None, None)
    assert report.as_json(verified(), Policy(), None, now=MADE + 1.2504)["age_seconds"] == 1.0


def test_keys_are_shown_with_the_names_of_their_algorithms() -> None:
    known = KeyConfig(7, KEY.kem_id, KEY.public_key, [(1, 3), (1, 1)])
    value = KEY.public_key.hex()
    assert report.key_lines(known) == (
        f"key 7: X25519-HKDF-SHA256 {value}\n"
        "  suites: HKDF-SHA256, CHACHA20-POLY1305; HKDF-SHA256, AES-128-GCM"
    )
    assert report.describe_key(known)["public_key"] == value
    unknown = KeyConfig(7, KEY.kem_id, KEY.public_key, [(2, 255)])
    assert report.describe_key(unknown)["suites"] == ["0x0002, 0x00ff"]


def test_a_short_line_leaves_room_for_a_word() -> None:
    """However narrow a terminal says that it is."""
    lines = report.answered([{"content": "x" * 50}], 5).split("\n")
    assert [len(line) for line in lines] == [30, 30, 20]
    tabs = report.answered([{"content": "\t" * 9}], 80).split("\n")
    assert [line.count("\t") for line in tabs] == [8, 1]


def test_a_catalogue_of_tokens_is_told_with_its_hash() -> None:
    listed = catalogue()
    data = listed.encode()
    found = verified()
    paid = replace(found, catalogue=listed, evidence=replace(found.evidence, token_catalogue=data))
    digest = hashlib.sha256(data).hexdigest()
    assert facts(report.as_text(paid, PINNED, RELAY, now=MADE))[-2:] == [
        ("tokens", f"catalogue {digest}: the SHA-256 in the document matches"),
        ("", "of issuer.example, c1, c4, c16, c64, in 3 epochs"),
    ]
    told = report.as_json(paid, PINNED, RELAY, now=MADE)["tokens"]
    assert told["catalogue"] == digest
    assert told["prices"] == ["c1", "c4", "c16", "c64"]
    assert told["models"]["small"] == {"free": True}
    assert (told["issuer"], told["origin"]) == ("issuer.example", "gateway.example")
    assert told["issuer_url"] == "https://issuer.example"


def test_one_epoch_is_told_as_one() -> None:
    listed = catalogue(keys=catalogue().keys[:4])
    found = verified()
    evidence = replace(found.evidence, token_catalogue=listed.encode())
    text = report.as_text(replace(found, catalogue=listed, evidence=evidence), PINNED, None, now=0)
    assert text.endswith("in 1 epoch")


def test_a_key_that_fills_a_screen_is_shown_by_its_digest() -> None:
    for size in (64, 65):
        public = b"\7" * size
        line = report.key_lines(KeyConfig(7, 0xABCD, public, [(1, 3)])).splitlines()[0]
        digest = f"SHA-256 {hashlib.sha256(public).hexdigest()}, 65 bytes"
        assert line == f"key 7: 0xabcd {public.hex() if size == 64 else digest}"


def test_a_root_of_ones_own_is_told() -> None:
    policy = replace(PINNED, root=object())  # type: ignore[arg-type]
    told = dict(facts(report.as_text(verified(), policy, None, now=MADE)))
    assert told["chain"] == "4 certificates lead to the root of --root"
