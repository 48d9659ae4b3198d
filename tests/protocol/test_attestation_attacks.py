"""Attacks on the evidence, and the step that stops each (`pytest -s` prints the table)."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import cbor2
import pytest

from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol import cose
from protocol.errors import (
    AttestationError,
    AttestationReason,
    AttestationStep,
    SignatureInvalid,
)
from protocol.evidence import Evidence, Platform, encode_user_data, verify_evidence
from protocol.key_config import encode_key_configs
from protocol.signature import sign_answer, verify_answer
from tests.support.attestation_samples import (
    NONCE,
    NOW,
    PCRS,
    certificates,
    changed_path,
    evidence,
    fields,
    gateway_key,
    key,
    outcome,
    path_der,
    pem,
    root,
    rsa_key,
    signed,
    spki,
)

MAX_AGE = 3600
ALTERED = b"\xff" * 48


@dataclass(frozen=True)
class Attack:
    """What somebody between enclave and client hands over, and what stops it."""

    make: Callable[[], Evidence]
    step: AttestationStep
    reason: AttestationReason


def keys_of_the_host() -> Evidence:
    """Good evidence beside a key configuration whose private key the host has."""
    mine = encode_key_configs([gateway_key(66).config])
    return replace(evidence(), ohttp_keys=mine)


def keys_of_the_host_added() -> Evidence:
    mine = encode_key_configs([gateway_key(66).config])
    return replace(evidence(), ohttp_keys=mine + evidence().ohttp_keys)


def signing_key_of_the_host() -> Evidence:
    return replace(evidence(), signing_key_pem=pem(rsa_key("host").public_key()))


def document_rewritten() -> Evidence:
    """The host's keys written into a good document, whose signature cannot be renewed."""
    mine = encode_key_configs([gateway_key(66).config])
    user_data = encode_user_data(mine, spki(rsa_key("signing").public_key()))
    message = cose.CoseSign1.decode(evidence().document)
    content = cbor2.loads(message.payload)
    content |= {"user_data": user_data, "public_key": gateway_key(66).config.encode()}
    rewritten = dataclasses.replace(message, payload=cbor2.dumps(content))
    return replace(evidence(), document=rewritten.encode(), ohttp_keys=mine)


def another_enclave() -> Evidence:
    """A real enclave of the host's own, with the host's code and the host's keys."""
    mine = encode_key_configs([gateway_key(66).config])
    user_data = encode_user_data(mine, spki(rsa_key("host").public_key()))
    made = evidence(
        user_data=user_data,
        public_key=gateway_key(66).config.encode(),
        pcrs=dict.fromkeys(PCRS, ALTERED),
    )
    return replace(made, ohttp_keys=mine, signing_key_pem=pem(rsa_key("host").public_key()))


def altered_pcr() -> Evidence:
    return evidence(pcrs=PCRS | {2: ALTERED})


def pcr_left_out() -> Evidence:
    return evidence(pcrs={index: value for index, value in PCRS.items() if index != 2})


def debug_mode() -> Evidence:
    return evidence(pcrs=PCRS | dict.fromkeys(range(3), bytes(48)))


def old_evidence() -> Evidence:
    """Yesterday's evidence, of keys that have leaked since."""
    yesterday = NOW - timedelta(days=1)
    hour = timedelta(hours=1)
    path = changed_path("leaf", start=yesterday - hour, end=yesterday + 2 * hour)
    return evidence(path, timestamp=int(yesterday.timestamp() * 1000))


def stale_evidence() -> Evidence:
    """Older than the client takes, though its certificate still holds."""
    return evidence(timestamp=int((NOW - timedelta(seconds=MAX_AGE + 1)).timestamp() * 1000))


def made_for_another_nonce() -> Evidence:
    return evidence(nonce=b"the nonce of yesterday")


def truncated_chain() -> Evidence:
    return evidence((path_der()[0], path_der()[3]))


def own_root() -> Evidence:
    """A whole path of the host's own, with the very names of the true one."""
    own = {name: key(f"own {name}") for name in certificates()}
    signers = [own["root"], own["root"], own["region"], own["zone"]]
    path = [
        replace(certificate, key=own[name], signer=signer).der()
        for (name, certificate), signer in zip(certificates().items(), signers, strict=True)
    ]
    return replace(evidence(), document=signed(payload_of(path), "own leaf"))


def own_leaf_under_the_true_root() -> Evidence:
    """The true authorities' certificates above a leaf that the host signed itself."""
    forged = replace(certificates()["leaf"], key=key("own"), signer=key("own zone")).der()
    return replace(evidence(), document=signed(payload_of([*path_der()[:-1], forged]), "own"))


def leaf_as_authority() -> Evidence:
    """Another enclave's leaf key issues a leaf: leaves may not."""
    below = replace(certificates()["leaf"], issuer="leaf", key=key("own"), signer=key("leaf"))
    path = [*path_der(), below.der()]
    return replace(evidence(), document=signed(payload_of(path), "own"))


def payload_of(path: list[bytes]) -> bytes:
    good = cbor2.loads(cose.CoseSign1.decode(evidence().document).payload)
    return cbor2.dumps(good | {name: fields(path)[name] for name in ("certificate", "cabundle")})


def two_user_data() -> Evidence:
    """Two fields of one name, for readers that take the first and readers that take the last."""
    good = cose.CoseSign1.decode(evidence().document).payload
    forged = encode_user_data(b"", b"")
    extended = b"\xaa" + good[1:] + b"\x69user_data" + cbor2.dumps(forged)
    return replace(evidence(), document=signed(extended))


def simulated_module() -> Evidence:
    module = SimulatedSecurityModule(now=NOW.timestamp)
    mine = encode_key_configs([gateway_key(66).config])
    user_data = encode_user_data(mine, spki(rsa_key("host").public_key()))
    made = module.attest(user_data, gateway_key(66).config.encode(), NONCE)
    return Evidence(made, mine, pem(rsa_key("host").public_key()), Platform.SIMULATED)


def simulated_module_that_calls_itself_real() -> Evidence:
    return replace(simulated_module(), platform=Platform.AWS_NITRO)


def real_evidence_that_calls_itself_simulated() -> Evidence:
    """So that a client which tries things out takes a real service for a simulated one."""
    return replace(evidence(), platform=Platform.SIMULATED)


STEP, REASON = AttestationStep, AttestationReason
ATTACKS = {
    "key swapped by the host": Attack(keys_of_the_host, STEP.BINDING, REASON.UNBOUND_KEYS),
    "key added by the host": Attack(keys_of_the_host_added, STEP.BINDING, REASON.UNBOUND_KEYS),
    "signing key swapped": Attack(signing_key_of_the_host, STEP.BINDING, REASON.UNBOUND_KEYS),
    "keys written into the document": Attack(document_rewritten, STEP.COSE_SIGN1, REASON.SIGNATURE),
    "a field given twice": Attack(two_user_data, STEP.COSE_SIGN1, REASON.MALFORMED),
    "evidence of another enclave": Attack(another_enclave, STEP.MEASUREMENTS, REASON.PCR_MISMATCH),
    "altered PCR": Attack(altered_pcr, STEP.MEASUREMENTS, REASON.PCR_MISMATCH),
    "PCR left out": Attack(pcr_left_out, STEP.MEASUREMENTS, REASON.PCR_MISMATCH),
    "debug mode": Attack(debug_mode, STEP.MEASUREMENTS, REASON.DEBUG_MODE),
    "old evidence replayed": Attack(old_evidence, STEP.CHAIN, REASON.EXPIRED),
    "stale evidence replayed": Attack(stale_evidence, STEP.FRESHNESS, REASON.STALE),
    "evidence for another nonce": Attack(
        made_for_another_nonce, STEP.FRESHNESS, REASON.NONCE_MISMATCH
    ),
    "truncated chain": Attack(truncated_chain, STEP.CHAIN, REASON.CHAIN),
    "own root": Attack(own_root, STEP.CHAIN, REASON.CHAIN),
    "own leaf below true authorities": Attack(
        own_leaf_under_the_true_root, STEP.CHAIN, REASON.CHAIN
    ),
    "leaf used as an authority": Attack(leaf_as_authority, STEP.CHAIN, REASON.CHAIN),
    "simulated module": Attack(simulated_module, STEP.PLATFORM, REASON.SIMULATED),
    "simulated module labelled real": Attack(
        simulated_module_that_calls_itself_real, STEP.CHAIN, REASON.CHAIN
    ),
    "real module labelled simulated": Attack(
        real_evidence_that_calls_itself_simulated, STEP.PLATFORM, REASON.SIMULATED
    ),
}


def verify(made: Evidence) -> None:
    verify_evidence(made, now=NOW, root=root(), pcrs=PCRS, nonce=NONCE, max_age=MAX_AGE)


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    print("\n" + "\n".join(rows))


def test_honest_evidence_is_accepted() -> None:
    verify(evidence())


@pytest.mark.parametrize("name", ATTACKS)
def test_the_step_that_stops_an_attack(name: str, table: list[str]) -> None:
    attack = ATTACKS[name]
    with pytest.raises(AttestationError) as caught:
        verify(attack.make())
    assert outcome(caught.value) == (attack.step, attack.reason)
    step = caught.value.step
    table.append(f"{name:<34} {step.value} {step.name.lower():<13} {caught.value.reason.value}")


def answer() -> dict[str, str | int]:
    return sign_answer(rsa_key("signing"), b"request", b"output", timestamp=1_777_000_000)


ANSWERS: dict[str, Callable[[], tuple[bytes, bytes, dict[str, Any]]]] = {
    "altered answer": lambda: (b"request", b"another output", answer()),
    "altered request": lambda: (b"another request", b"output", answer()),
    "altered timestamp": lambda: (
        b"request",
        b"output",
        answer() | {"tee_timestamp": 1_777_000_001},
    ),
    "signed by another enclave": lambda: (
        b"request",
        b"output",
        sign_answer(rsa_key("host"), b"request", b"output", timestamp=1_777_000_000),
    ),
    "signed by another, named as this": lambda: (
        b"request",
        b"output",
        sign_answer(rsa_key("host"), b"request", b"output", timestamp=1_777_000_000)
        | {"tee_id": answer()["tee_id"]},
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_signature_stops_an_attack(name: str, table: list[str]) -> None:
    public_key = rsa_key("signing").public_key()
    verify_answer(public_key, b"request", b"output", answer())
    with pytest.raises(SignatureInvalid) as caught:
        verify_answer(public_key, *ANSWERS[name]())
    table.append(f"{name:<34} - signature     {caught.value}")
