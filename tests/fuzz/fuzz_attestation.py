"""Attestation documents, COSE_Sign1: what is taken, cbor2 reads alike; nothing forged verifies."""

import cbor2

from protocol import attestation
from protocol.attestation import AttestationError
from protocol.cose import CoseSign1
from protocol.errors import MalformedMessage
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import REFUSED, Attempt, Refused, attempt
from tests.support.attestation_samples import real_documents

MAX_BYTES = 8192
GENUINE = {each.data: each for each in real_documents() if each.valid}
attempt_document = Attempt(AttestationError)

FAULTS = (
    slips("protocol.attestation._open", AttestationError),
    slips("protocol.cose._check_headers", MalformedMessage),
    returns("protocol.attestation._timestamp", lambda time: time + 1),
    replaced("protocol.attestation._verify_signature", lambda signed, claimed: None),
)


def seeds() -> list[bytes]:
    """Return documents of AWS's, and what they consist of."""
    documents = [each.data for each in real_documents()][:12]
    payloads = [CoseSign1.decode(document).payload for document in documents[:4]]
    headers = [b"\xa1\x01\x38\x22", b"\xa1\x01\x26"]
    small = [cbor2.dumps([header, {}, b"x", bytes(96)]) for header in headers]
    return [*documents, *payloads, *small]


def run(data: bytes) -> None:
    """Read `data` as a message, as a document, and as the content of one; verify it."""
    message = attempt(CoseSign1.decode, data)
    if not isinstance(message, Refused):
        assert message.encode() == cbor2.dumps(_plain(cbor2.loads(data)))
        assert CoseSign1.decode(message.encode()) == message
    wrapped = cbor2.dumps([b"\xa1\x01\x38\x22", {}, data, bytes(96)])
    for document, content in ((data, message), (wrapped, None)):
        claimed = attempt_document(attestation.decode_attestation, document)
        if isinstance(claimed, Refused):
            continue
        payload = data if content is None or isinstance(content, Refused) else content.payload
        fields = cbor2.loads(payload)
        assert all(getattr(claimed, name) == _same(value) for name, value in fields.items())
    _check_proof(data)


def _plain(message: object) -> object:
    return message.value if isinstance(message, cbor2.CBORTag) else message


def _same(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _check_proof(data: bytes) -> None:
    claimed = attempt_document(attestation.decode_attestation, data)
    if isinstance(claimed, Refused) or claimed.timestamp > 1 << 41:
        return
    proven = attempt_document(
        attestation.verify_attestation, data, now=claimed.timestamp / 1000, allow_debug=True
    )
    # A signature has two forms, s and its negative, and a message may have its tag or not.
    if data in GENUINE:
        assert proven == claimed
    elif proven is not REFUSED:
        payload = CoseSign1.decode(data).payload
        assert payload in {CoseSign1.decode(known).payload for known in GENUINE}
