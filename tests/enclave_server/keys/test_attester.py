"""Evidence for keys: what is bound, to which module, and when it was made and ends."""

import time

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from enclave_server.keys.attester import Attester, certificate_end, document_time
from enclave_server.security_module.simulated import LEAF_LIFETIME, SimulatedSecurityModule
from protocol.encapsulation import GatewayKey
from protocol.evidence import Platform, simulated_root, verify_evidence
from protocol.key_config import encode_key_configs
from protocol.signature import SigningKeys
from tests.support.minting import TARIFF, Mint, epochs_around

SIGNING_KEYS = SigningKeys.generate()
KEYS = encode_key_configs([GatewayKey.generate(2).config, GatewayKey.generate(1).config])
MADE = 1_800_000_000.25


@pytest.fixture
def attester() -> Attester:
    return Attester(SimulatedSecurityModule(now=lambda: MADE), SIGNING_KEYS)


def test_what_is_attested_verifies(attester: Attester) -> None:
    for nonce in (None, b"a nonce"):
        evidence = attester.attest(KEYS, nonce)
        root = simulated_root(evidence.document)
        verified = verify_evidence(evidence, now=MADE, root=root, nonce=nonce)
        assert evidence.ohttp_keys == KEYS
        assert evidence.platform is Platform.SIMULATED
        assert verified.attestation.nonce == nonce
        key = load_pem_public_key(evidence.signing_key_pem)
        assert key == SIGNING_KEYS.rsa.public_key()
        assert verified.ed25519_key == SIGNING_KEYS.ed25519.public_key()


def test_a_catalogue_is_bound_and_told() -> None:
    module = SimulatedSecurityModule(now=lambda: MADE)
    sold = Mint(epochs_around(MADE)).catalogue({"m": TARIFF}).encode()
    for catalogue in (None, sold):
        evidence = Attester(module, SIGNING_KEYS, catalogue).attest(KEYS)
        assert evidence.token_catalogue == catalogue
        verify_evidence(evidence, now=MADE, root=simulated_root(evidence.document))


def test_a_list_without_keys_cannot_be_attested(attester: Attester) -> None:
    with pytest.raises(ValueError, match="no key configuration fits"):
        attester.attest(b"")


def test_times_are_those_of_the_document(attester: Attester) -> None:
    document = attester.attest(KEYS).document
    assert document_time(document) == MADE
    end = certificate_end(document)
    assert MADE < end <= MADE + LEAF_LIFETIME.total_seconds()
    assert end > MADE + LEAF_LIFETIME.total_seconds() - 120  # backdated by a minute


def test_by_the_clock_of_this_machine_it_is_made_now() -> None:
    document = Attester(SimulatedSecurityModule(), SIGNING_KEYS).attest(KEYS).document
    assert abs(document_time(document) - time.time()) < 60
