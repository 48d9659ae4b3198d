"""The simulated security module: the same form as a real one, and `simulated` everywhere."""

from datetime import timedelta

import pytest
from cryptography import x509

from enclave_server.security_module.nsm import Description, SecurityModule
from enclave_server.security_module.simulated import (
    LEAF_LIFETIME,
    LEAF_RENEWAL,
    PCR_COUNT,
    SimulatedSecurityModule,
    simulated_pcrs,
)
from protocol.attestation import (
    AWS_ROOT_G1,
    Attestation,
    AttestationError,
    decode_attestation,
    verify_attestation,
)
from protocol.evidence import Platform, simulated_root
from tests.support.attestation_samples import NOW


class Clock:
    def __init__(self) -> None:
        self.seconds = NOW.timestamp()

    def __call__(self) -> float:
        return self.seconds


def verified(module: SimulatedSecurityModule, clock: Clock) -> Attestation:
    document = module.attest(b"data", b"key", b"nonce")
    return verify_attestation(document, now=clock(), root=module.root, nonce=b"nonce", max_age=1)


def test_its_documents_verify_under_its_own_root() -> None:
    clock = Clock()
    module: SecurityModule = SimulatedSecurityModule(now=clock)
    document = module.attest(b"data", b"key", b"nonce")
    root = simulated_root(document)
    attestation = verify_attestation(document, now=clock(), root=root, pcrs=simulated_pcrs())
    assert (attestation.user_data, attestation.public_key) == (b"data", b"key")
    assert attestation.nonce == b"nonce"
    assert attestation.timestamp == int(clock() * 1000)
    assert module.platform is Platform.SIMULATED


def test_nothing_else_vouches_for_it() -> None:
    clock = Clock()
    document = SimulatedSecurityModule(now=clock).attest(None, None, None)
    other = SimulatedSecurityModule(now=clock)
    for root in (AWS_ROOT_G1, other.root):
        with pytest.raises(AttestationError):
            verify_attestation(document, now=clock(), root=root)


def test_everything_says_simulated() -> None:
    module = SimulatedSecurityModule()
    attestation = decode_attestation(module.attest(None, None, None))
    assert attestation.module_id == module.describe().module_id
    assert attestation.module_id.startswith("simulated-")
    for der in (*attestation.cabundle, attestation.certificate):
        name = x509.load_der_x509_certificate(der).subject.rfc4514_string()
        assert name.startswith(f"CN={attestation.module_id}")


def test_each_module_has_a_name_and_a_root_of_its_own() -> None:
    modules = [SimulatedSecurityModule() for _ in range(3)]
    assert len({module.module_id for module in modules}) == 3
    assert len({module.root for module in modules}) == 3


def test_registers_are_plausible_and_the_same_everywhere() -> None:
    pcrs = simulated_pcrs()
    assert list(pcrs) == list(range(PCR_COUNT))
    assert all(any(pcrs[index]) for index in range(5))
    assert len(set(pcrs.values())) == 6
    assert decode_attestation(SimulatedSecurityModule().attest(None, None, None)).pcrs == pcrs


def test_a_document_always_has_half_a_leafs_life_before_it() -> None:
    clock = Clock()
    module = SimulatedSecurityModule(now=clock)
    leaves = set()
    for _ in range(24):
        clock.seconds += 600
        attestation = verified(module, clock)
        leaves.add(attestation.certificate)
        leaf = x509.load_der_x509_certificate(attestation.certificate)
        remaining = leaf.not_valid_after_utc.timestamp() - clock()
        assert remaining >= (LEAF_LIFETIME - LEAF_RENEWAL).total_seconds()
    assert 2 <= len(leaves) <= 4


def test_a_clock_that_is_set_back() -> None:
    clock = Clock()
    module = SimulatedSecurityModule(now=clock)
    for change in (timedelta(seconds=-30), timedelta(days=400), timedelta(days=-399)):
        clock.seconds += change.total_seconds()
        assert verified(module, clock)


def test_random_and_description() -> None:
    module = SimulatedSecurityModule()
    assert len(module.random(300)) == 300
    assert module.random(16) != module.random(16)
    assert module.describe().digest == "SHA384"
    assert module.describe().locked_pcrs == frozenset(range(PCR_COUNT))


def test_sizes_are_those_of_a_real_module() -> None:
    with pytest.raises(ValueError, match="nonce"):
        SimulatedSecurityModule().attest(None, None, bytes(513))


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType:
    return certificate.extensions.get_extension_for_class(kind).value


def test_certificates_are_those_of_a_real_path() -> None:
    """Who may issue, how many below it, for what a key is, and from when to when."""
    clock = Clock()
    attestation = decode_attestation(SimulatedSecurityModule(now=clock).attest(None, None, None))
    path = [*attestation.cabundle, attestation.certificate]
    found = [x509.load_der_x509_certificate(der) for der in path]
    constraints = [extension(each, x509.BasicConstraints) for each in found]
    assert constraints == [
        x509.BasicConstraints(ca=True, path_length=1),
        x509.BasicConstraints(ca=True, path_length=0),
        x509.BasicConstraints(ca=False, path_length=None),
    ]
    off = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    issues = x509.KeyUsage(**{**off, "key_cert_sign": True})
    signs = x509.KeyUsage(**{**off, "digital_signature": True})
    assert [extension(each, x509.KeyUsage) for each in found] == [issues, issues, signs]
    critical = [
        [each.extensions.get_extension_for_class(kind).critical for each in found]
        for kind in (x509.BasicConstraints, x509.KeyUsage)
    ]
    assert critical == [[True, True, True], [True, True, False]]
    lives = [each.not_valid_after_utc - each.not_valid_before_utc for each in found]
    assert lives == [timedelta(days=3650), timedelta(days=3650), timedelta(hours=3)]
    assert {NOW - each.not_valid_before_utc for each in found} == {timedelta(minutes=1)}


def test_it_describes_itself_as_a_real_one_does() -> None:
    module = SimulatedSecurityModule()
    locked = frozenset(range(16))
    assert module.describe() == Description((1, 0, 0), module.module_id, 32, locked, "SHA384")
    assert [index for index, value in simulated_pcrs().items() if any(value)] == [0, 1, 2, 3, 4]
    assert len(module.module_id) == len("simulated-") + 16


def test_a_leaf_is_used_for_half_its_life_and_not_longer() -> None:
    clock = Clock()
    module = SimulatedSecurityModule(now=clock)
    first = verified(module, clock).certificate
    clock.seconds += 5400 - 60  # it began a minute before it was made
    assert verified(module, clock).certificate == first
    clock.seconds += 1
    assert verified(module, clock).certificate != first
