"""COSE_Sign1 (RFC 9052, Section 4.2) with ES384 (RFC 9053, Section 2.1), nothing else of COSE."""

from dataclasses import dataclass

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384

from protocol import cbor
from protocol.errors import MalformedMessage

TAG_COSE_SIGN1 = b"\xd2"
"""Tag 18; documents come with it and without it."""

ALGORITHM, ES384 = 1, -35
PROTECTED = cbor2.dumps({ALGORITHM: ES384})
COORDINATE_BYTES = 48
MAX_PAYLOAD_BYTES = 16384
"""`bstr .size (1..16384)` in AWS's description of the attestation process, Section 3.1."""

MAX_MESSAGE_BYTES = MAX_PAYLOAD_BYTES + 112
"""The payload, a 96-byte signature, and the longest heads and headers that are accepted."""


@dataclass(frozen=True, slots=True)
class CoseSign1:
    """A message whose form is right and whose signature nobody has checked yet."""

    protected: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def decode(cls, data: bytes) -> "CoseSign1":
        """Read a message, tagged or not, or raise MalformedMessage."""
        if len(data) > MAX_MESSAGE_BYTES:
            raise MalformedMessage("larger than any attestation document")
        match cbor.decode(data.removeprefix(TAG_COSE_SIGN1)):
            case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
                _check_headers(protected, unprotected)
            case _:
                raise MalformedMessage("not a COSE_Sign1 array")
        if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES or len(signature) != 2 * COORDINATE_BYTES:
            raise MalformedMessage("a payload or signature of an impossible size")
        return cls(protected, payload, signature)

    def verify(self, key: ec.EllipticCurvePublicKey) -> None:
        """Raise cryptography's InvalidSignature unless `key` (on P-384) made the signature."""
        # A high s is as valid as a low one: half of all real documents have it.
        r, s = self.signature[:COORDINATE_BYTES], self.signature[COORDINATE_BYTES:]
        der = utils.encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        key.verify(der, _signed_bytes(self.protected, self.payload), ec.ECDSA(SHA384()))

    def encode(self) -> bytes:
        """Return the untagged message, as a security module does."""
        return cbor2.dumps([self.protected, {}, self.payload, self.signature])


def sign(key: ec.EllipticCurvePrivateKey, payload: bytes) -> CoseSign1:
    """Return `payload` signed with ES384; `key` is on P-384."""
    der = key.sign(_signed_bytes(PROTECTED, payload), ec.ECDSA(SHA384()))
    halves = (
        number.to_bytes(COORDINATE_BYTES, "big") for number in utils.decode_dss_signature(der)
    )
    return CoseSign1(PROTECTED, payload, b"".join(halves))


def _check_headers(protected: bytes, unprotected: object) -> None:
    # Exactly {1: -35}: a header that is not understood could change what the rest means,
    # and one that is not protected could be anybody's.
    if cbor.decode(protected) != {ALGORITHM: ES384}:
        raise MalformedMessage("the protected header is not that of ES384")
    if unprotected:
        raise MalformedMessage("there are unprotected headers")


def _signed_bytes(protected: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure (RFC 9052, Section 4.4)."""
    return cbor2.dumps(["Signature1", protected, b"", payload])
