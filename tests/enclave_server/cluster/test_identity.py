"""What an enclave is to others."""

import hashlib

import pytest

from enclave_server.cluster.identity import Unequal, family_of, make_identity, new_member
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.signature import encode_spki
from tests.support.enclaves import REGISTERS, signing_keys


def test_others_have_to_measure_as_it_does() -> None:
    module = SimulatedSecurityModule(pcrs={3: b"r" * 48})
    identity = make_identity(module, REGISTERS)
    assert identity.equality.pcrs[3] == b"r" * 48
    assert set(identity.equality.pcrs) == set(REGISTERS)
    assert identity.equality.root == module.root


def test_in_debug_mode_it_is_equal_to_nobody() -> None:
    with pytest.raises(Unequal, match="PCR0"):
        make_identity(SimulatedSecurityModule(pcrs={0: bytes(48)}), REGISTERS)


def test_identifiers_are_new_and_families_are_those_of_keys() -> None:
    assert new_member() != new_member()
    assert family_of(signing_keys()) == family_of(signing_keys())
    assert family_of(signing_keys()) != family_of(signing_keys(1))


def test_sizes_are_those_that_travel() -> None:
    spki = encode_spki(signing_keys().rsa.public_key())
    assert family_of(signing_keys()) == hashlib.sha256(spki).digest()[:16]
    assert len(new_member()) == 16
