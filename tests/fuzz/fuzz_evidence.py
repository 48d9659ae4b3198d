"""The evidence bundle: read, written and verified; what verifies binds the keys beside it."""

import hashlib

import cbor2

from enclave_server.keys.attester import Attester
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol import evidence
from protocol.attestation import decode_attestation
from protocol.certificates import AWS_ROOT_G1
from protocol.encapsulation import GatewayKey
from protocol.errors import AttestationError, MalformedMessage, ProtocolError
from protocol.evidence import Evidence, Platform
from protocol.key_config import encode_key_configs
from protocol.signature import encode_spki
from tests.fuzz.faults import replaced, slips
from tests.fuzz.reading import Refused, attempt
from tests.support.attestation_samples import real_documents, signing_keys

MAX_BYTES = 16384

FAULTS = (
    slips("protocol.evidence.load_pem_public_key", ValueError),
    slips("protocol.strict_json.decode_object", MalformedMessage),
    slips("protocol.evidence._read_keys", AttestationError),
    replaced("protocol.evidence._unbound", KeyError),
)


def seeds() -> list[bytes]:
    """Return good evidence of a simulated module, some with altered members, and AWS's."""
    keys = signing_keys("fuzz")
    configs = [GatewayKey(number, bytes([number]) * 32).config for number in (2, 1)]
    good = Attester(SimulatedSecurityModule(), keys).attest(encode_key_configs(configs))
    others = Attester(SimulatedSecurityModule(), keys).attest(encode_key_configs(configs[:1]))
    real = [
        Evidence(each.data, good.ohttp_keys, good.signing_key_pem, Platform.AWS_NITRO)
        for each in real_documents()[:3]
    ]
    swapped = Evidence(good.document, others.ohttp_keys, good.signing_key_pem, good.platform)
    sells = Attester(SimulatedSecurityModule(), keys, b"{}").attest(encode_key_configs(configs))
    bundles = [good, others, sells, *real, swapped]
    bundles.append(Evidence(good.document, b"", b"", good.platform))
    return [each.encode() for each in bundles]


def run(data: bytes) -> None:
    """Read evidence and verify it at the time that it claims, under the root that it brings."""
    found = attempt(Evidence.decode, data)
    if isinstance(found, Refused):
        return
    assert Evidence.decode(found.encode()) == found
    verified = attempt(_verify, found)
    if isinstance(verified, Refused):
        return
    bound = cbor2.loads(verified.attestation.user_data or b"")
    assert bound["ohttp_keys"] == hashlib.sha256(found.ohttp_keys).digest()
    assert bound["signing_key"] == hashlib.sha256(encode_spki(verified.signing_key)).digest()
    assert (found.ed25519_pem is None) == (evidence.ED25519_MEMBER not in bound)
    catalogue = found.token_catalogue
    assert bound.get("tokens") == (catalogue and hashlib.sha256(catalogue).digest())
    assert verified.attestation.public_key in [each.encode() for each in verified.key_configs]
    assert found.platform is Platform.SIMULATED or found.document in _real()


def _verify(found: Evidence) -> evidence.VerifiedEvidence:
    claimed = decode_attestation(found.document)
    if claimed.timestamp > 1 << 41:
        raise ProtocolError
    is_simulated = found.platform is Platform.SIMULATED
    root = evidence.simulated_root(found.document) if is_simulated else AWS_ROOT_G1
    return evidence.verify_evidence(
        found, now=claimed.timestamp / 1000, root=root, allow_debug=True
    )


def _real() -> set[bytes]:
    return {each.data for each in real_documents()}
