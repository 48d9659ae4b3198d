"""Certificate paths: whatever the octets of a certificate are, a path is refused in one way."""

from datetime import UTC, datetime

from cryptography import x509

from protocol import certificates
from protocol.attestation import decode_attestation
from protocol.errors import AttestationError
from tests.fuzz.faults import replaced, slips
from tests.fuzz.reading import REFUSED, Attempt, Octets
from tests.support.attestation_samples import real_documents

attempt_path = Attempt(AttestationError)

DOCUMENTS = [decode_attestation(each.data) for each in real_documents() if each.valid][:6]
PATHS = [(*each.cabundle, each.certificate) for each in DOCUMENTS]
TIMES = [datetime.fromtimestamp(each.timestamp / 1000, UTC) for each in DOCUMENTS]
ROOT = certificates.AWS_ROOT_G1

FAULTS = (
    slips("protocol.certificates._readable", AttestationError),
    replaced("protocol.certificates._check_issued_by", lambda certificate, issuer: None),
    replaced("protocol.certificates.ILL_FORMED", (TypeError,)),
)


def seeds() -> list[bytes]:
    """Return each certificate of some paths, behind the numbers of its path and of its place."""
    return [
        bytes([number, place]) + der
        for number, path in enumerate(PATHS)
        for place, der in enumerate(path)
    ]


def run(data: bytes) -> None:
    """Put a certificate into a genuine path, and into the place of the root."""
    octets = Octets(data)
    number, place = octets.number() % len(PATHS), octets.number()
    path, der = list(PATHS[number]), octets.rest()
    place %= len(path)
    is_genuine = path[place] == der
    path[place] = der
    verdict = attempt_path(certificates.verify_path, path, ROOT, TIMES[number])
    assert (verdict is REFUSED) != is_genuine
    anchor = attempt_path(certificates.load_certificate, der)
    if isinstance(anchor, x509.Certificate):
        attempt_path(certificates.public_key, anchor)
        # Under a root of its own making nothing else may go wrong either.
        attempt_path(certificates.verify_path, [der, *PATHS[number][1:]], anchor, TIMES[number])
        attempt_path(certificates.verify_path, [der, der[:-1]], anchor, TIMES[number])
