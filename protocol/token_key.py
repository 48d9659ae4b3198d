"""Keys of token type 2 (RFC 9578, Sections 6.5 and 8.2.2), in the one form that is accepted.

A SubjectPublicKeyInfo of id-RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 octets,
whose key has 2,048 bits and e = 65537. Of such a key everything but the modulus is fixed, so that
it is compared, and there is no DER to read.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from protocol.errors import MalformedMessage

MODULUS_BYTES = 256
EXPONENT = 65537

_ALGORITHM = bytes.fromhex(
    "303d06092a864886f70d01010a3030a00d300b0609608648016503040202"
    "a11a301806092a864886f70d010108300b0609608648016503040202a203020130"
)
_HEAD = bytes.fromhex("30820152") + _ALGORITHM + bytes.fromhex("0382010f003082010a0282010100")
_TAIL = bytes.fromhex("0203010001")
SPKI_BYTES = len(_HEAD) + MODULUS_BYTES + len(_TAIL)

KEY_ID_BYTES = 32


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key of an issuer; two are equal if their SubjectPublicKeyInfo is."""

    spki: bytes = field(repr=False)
    public_key: RSAPublicKey = field(repr=False, compare=False)
    key_id: bytes
    """SHA-256 of the SubjectPublicKeyInfo."""

    @classmethod
    def decode(cls, spki: bytes) -> Self:
        """Return the key in a DER SubjectPublicKeyInfo, or raise MalformedMessage."""
        modulus = spki[len(_HEAD) : -len(_TAIL)]
        if spki != _HEAD + modulus + _TAIL or len(modulus) != MODULUS_BYTES:
            raise MalformedMessage("not a key of token type 2")
        # 2,048 bits, and odd as every product of two odd primes is.
        if not modulus[0] & 0x80 or not modulus[-1] & 1:
            raise MalformedMessage("not a modulus of 2048 bits")
        public_key = RSAPublicNumbers(EXPONENT, int.from_bytes(modulus, "big")).public_key()
        return cls(bytes(spki), public_key, hashlib.sha256(spki).digest())

    @classmethod
    def from_public_key(cls, public_key: RSAPublicKey) -> Self:
        """Return a key as an issuer tells it; ValueError for other sizes and exponents."""
        numbers = public_key.public_numbers()
        if public_key.key_size != 8 * MODULUS_BYTES or numbers.e != EXPONENT:
            raise ValueError("a key of token type 2 has 2048 bits and e = 65537")
        return cls.decode(_HEAD + numbers.n.to_bytes(MODULUS_BYTES, "big") + _TAIL)

    @property
    def truncated_id(self) -> int:
        """The last octet of the identifier, by which a TokenRequest names the key."""
        return self.key_id[-1]
