"""What a client demands: roots and measurements in files, and the sentences for what is wrong."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from oblivious_client.errors import UsageError
from oblivious_client.exits import Exit
from oblivious_client.policy import (
    CODE_PINS,
    MAX_AGE_SECONDS,
    Policy,
    Simulated,
    read_releases,
    read_root,
)
from protocol.attestation import AWS_ROOT_G1
from protocol.errors import AttestationError, AttestationReason, AttestationStep

PCR = b"\1" * 48


def test_what_is_demanded_by_default() -> None:
    policy = Policy()
    assert (policy.max_age, MAX_AGE_SECONDS) == (3600, 3600)
    assert CODE_PINS == (0, 1, 2)
    assert policy.releases == ()
    assert policy.root is None


def test_further_releases_count_only_beside_a_first() -> None:
    assert Policy(pcrs={0: PCR}, also=({1: PCR},)).releases == ({0: PCR}, {1: PCR})
    assert Policy(also=({1: PCR},)).releases == ()


def test_each_demand_is_in_the_fingerprint() -> None:
    policies = [
        Policy(),
        Policy(pcrs={0: PCR}),
        Policy(pcrs={1: PCR}),
        Policy(pcrs={0: PCR}, also=({1: PCR},)),
        Policy(max_age=10),
        Policy(root=AWS_ROOT_G1),
    ]
    assert len({policy.fingerprint() for policy in policies}) == len(policies)
    assert Policy().fingerprint() == Policy().fingerprint()


def test_a_root_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "root.pem"
    path.write_bytes(AWS_ROOT_G1.public_bytes(Encoding.PEM))
    assert read_root(path) == AWS_ROOT_G1
    path.write_bytes(b"no certificate")
    with pytest.raises(UsageError, match="holds no certificate"):
        read_root(path)
    with pytest.raises(UsageError, match="cannot read") as caught:
        read_root(tmp_path / "absent")
    assert "PEM" in caught.value.advice


def test_measurements_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read") as caught:
        read_releases(tmp_path / "absent")
    assert "nitro-cli" in caught.value.advice


@pytest.mark.parametrize("reason", AttestationReason)
@pytest.mark.parametrize("simulated", Simulated)
def test_each_reason_has_its_code_and_only_measurements_show_their_detail(
    reason: AttestationReason, simulated: Simulated
) -> None:
    error = AttestationError(AttestationStep.CHAIN, reason, "PCR0 is aa, not bb")
    refused = Policy(simulated=simulated)._refusal(error)
    assert ("PCR0 is aa" in str(refused)) is (reason is AttestationReason.PCR_MISMATCH)
    assert refused.advice
    codes = {
        AttestationReason.MALFORMED: Exit.EVIDENCE_MALFORMED,
        AttestationReason.SIGNATURE: Exit.CHAIN,
        AttestationReason.CHAIN: Exit.CHAIN,
        AttestationReason.EXPIRED: Exit.STALE,
        AttestationReason.PCR_MISMATCH: Exit.PCRS,
        AttestationReason.DEBUG_MODE: Exit.DEBUG_MODE,
        AttestationReason.NONCE_MISMATCH: Exit.STALE,
        AttestationReason.STALE: Exit.STALE,
        AttestationReason.UNBOUND_KEYS: Exit.KEYS_UNBOUND,
        AttestationReason.CATALOGUE: Exit.CATALOGUE,
        # Who allows simulated ones was shown one that is none.
        AttestationReason.SIMULATED: (
            Exit.CHAIN if simulated is Simulated.ALLOWED else Exit.SIMULATED
        ),
    }
    assert refused.code is codes[reason]
