"""What is demanded of evidence: which pins count, how they are read, what a laxer policy lends."""

import dataclasses
import json
import time
from pathlib import Path

import pytest

from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.policy import Policy, Simulated, read_releases, read_root
from protocol.evidence import Platform, VerifiedEvidence
from tests.support.gateway import StandInGateway

ALLOWED = Policy(simulated=Simulated.ALLOWED)
ZEROS = bytes(48)


@pytest.fixture(scope="module")
def genuine() -> VerifiedEvidence:
    """Return evidence whose signature and chain are taken for AWS's."""
    gateway = StandInGateway()
    gateway.close()
    verified = ALLOWED.inspect(gateway.evidence(), now=time.time())
    relabelled = dataclasses.replace(verified.evidence, platform=Platform.AWS_NITRO)
    return dataclasses.replace(verified, evidence=relabelled)


def with_registers(verified: VerifiedEvidence, **changes: bytes) -> VerifiedEvidence:
    registers = {int(name[3:]): value for name, value in changes.items()}
    pcrs = {**verified.attestation.pcrs, **registers}
    return dataclasses.replace(
        verified, attestation=dataclasses.replace(verified.attestation, pcrs=pcrs)
    )


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_a_register_of_zeros_is_no_pin(genuine: VerifiedEvidence, zero: int) -> None:
    shown = with_registers(genuine, **{f"PCR{zero}": ZEROS})
    pins = {index: shown.attestation.pcrs[index] for index in (0, 1, 2)}
    policy = Policy(pcrs=pins)
    assert policy.pins_of(shown).keys() == {0, 1, 2} - {zero}
    with pytest.raises(EvidenceRefused, match=f"PCR{zero} of its code is not pinned") as caught:
        policy.require_pins(shown)
    assert caught.value.code is Exit.UNPINNED


def test_zeros_beside_pins_do_no_harm(genuine: VerifiedEvidence) -> None:
    pins = {index: genuine.attestation.pcrs[index] for index in (0, 1, 2)}
    Policy(pcrs={**pins, 8: ZEROS}).require_pins(with_registers(genuine, PCR8=ZEROS))


def test_a_signer_alone_is_no_pin(genuine: VerifiedEvidence) -> None:
    signer = b"\x08" * 48
    with pytest.raises(EvidenceRefused, match="no measurements of the code"):
        Policy(pcrs={8: signer}).require_pins(with_registers(genuine, PCR8=signer))


def test_what_is_missing_is_named(genuine: VerifiedEvidence) -> None:
    policy = Policy(pcrs={0: genuine.attestation.pcrs[0]})
    with pytest.raises(EvidenceRefused, match="PCR1, PCR2 of its code"):
        policy.require_pins(genuine)


def test_measurements_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "pcrs.json"
    path.write_text(json.dumps({"PCR0": "ab" * 48}))
    assert read_releases(path) == ({0: b"\xab" * 48},)
    path.write_text(f'{{"PCR0": "{"ab" * 48}", "PCR0": "{"cd" * 48}"}}')
    with pytest.raises(UsageError, match="occurs twice"):
        read_releases(path)


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_what_is_no_certificate(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "root.pem"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="holds no certificate"):
        read_root(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_root(tmp_path / "none")


def test_policies_differ_by_their_fingerprints() -> None:
    policies = [
        Policy(),
        ALLOWED,
        Policy(max_age=60),
        Policy(pcrs={0: ZEROS}),
        Policy(pcrs={0: ZEROS}, also=({0: b"\x01" * 48},)),
    ]
    assert len({policy.fingerprint() for policy in policies}) == len(policies)
    assert Policy().fingerprint() == Policy().fingerprint()


def test_evidence_ends_when_it_is_too_old(genuine: VerifiedEvidence) -> None:
    made = genuine.attestation.timestamp / 1000
    assert Policy().expiry(genuine) == made + 3600
    assert Policy(max_age=60).expiry(genuine) == made + 60


def test_a_policy_is_the_same_in_whatever_order_its_pins_were_named() -> None:
    pins = {index: bytes([index + 1]) * 48 for index in range(3)}
    turned = dict(reversed(pins.items()))
    assert Policy(pcrs=pins).fingerprint() == Policy(pcrs=turned).fingerprint()
    assert Policy(pcrs=pins).fingerprint() != Policy(pcrs={**pins, 0: bytes(48)}).fingerprint()
