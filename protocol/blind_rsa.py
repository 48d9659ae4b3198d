"""Blind RSA signatures (RFC 9474), as token type 2 uses them: RSABSSA-SHA384-PSS-Deterministic.

Preparing a message changes nothing of it here (Section 4.1, PrepareIdentity). The variant without
a salt differs in `salt_length` alone, and the randomized ones in what the caller signs.
"""

import hashlib
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA384

from protocol.errors import MalformedMessage, SignatureInvalid

RandomBytes = Callable[[int], bytes]

PrivateOperation = Callable[[int], int]
"""RSASP1 (RFC 8017, Section 5.2.1): m to m^d mod n.

It comes from a library that takes the same time for every m: whoever is blinded chooses m, so that
Python's `pow`, which does not, would tell the key to a patient client.
"""

SALT_BYTES = 48
"""As long as a digest of SHA-384 (RFC 9474, Section 5)."""

_TRAILER = b"\xbc"


@dataclass(frozen=True, slots=True)
class Blinding:
    """What turns the signature of a blinded message into that of `message`, once.

    With `inverse` an issuer could tie the signature to its request: it is never printed.
    """

    public_key: RSAPublicKey
    message: bytes
    inverse: int = field(repr=False)
    salt_length: int = SALT_BYTES

    def finalize(self, blind_signature: bytes) -> bytes:
        """Return the verified signature of `message` (RFC 9474, Section 4.4).

        MalformedMessage for what is no blind signature, SignatureInvalid for one of another key or
        message.
        """
        modulus = self.public_key.public_numbers().n
        blinded = read_residue(self.public_key, blind_signature)
        signature = _octets(self.public_key, blinded * self.inverse % modulus)
        # RFC 9474, Section 4.4: verify, and raise an error if the signature is not valid.
        verify(self.public_key, self.message, signature, salt_length=self.salt_length)
        return signature


def blind(
    public_key: RSAPublicKey,
    message: bytes,
    *,
    random: RandomBytes = secrets.token_bytes,
    salt_length: int = SALT_BYTES,
) -> tuple[bytes, Blinding]:
    """Return the blinded message, and what opens its signature (RFC 9474, Section 4.2).

    MalformedMessage for a key whose modulus shares a factor with what is drawn, which no honest
    one does. `random` gives the salt and then r, which is drawn again until it is below n. Python's
    integers take their time by value: r is used once, and on the machine that it hides from others.
    """
    numbers = public_key.public_numbers()
    encoded = encode_pss(message, public_key.key_size - 1, random(salt_length))
    representative = int.from_bytes(encoded, "big")
    factor = _draw(numbers.n, random)
    # RFC 9474, Section 4.2: "invalid input" and "blinding error"; either would show a factor of n.
    if math.gcd(representative, numbers.n) != 1 or math.gcd(factor, numbers.n) != 1:
        raise MalformedMessage("the modulus has a factor that no honest one has")
    blinded = representative * pow(factor, numbers.e, numbers.n) % numbers.n
    inverse = pow(factor, -1, numbers.n)
    return _octets(public_key, blinded), Blinding(public_key, message, inverse, salt_length)


def blind_sign(
    public_key: RSAPublicKey, blinded_message: bytes, private_operation: PrivateOperation
) -> bytes:
    """Return the signature of a blinded message by the owner of `public_key` (Section 4.3).

    MalformedMessage for a message that is no residue; ArithmeticError if the operation failed.
    """
    numbers = public_key.public_numbers()
    representative = read_residue(public_key, blinded_message)
    signature = private_operation(representative)
    # RFC 9474, Section 4.3: a wrong result, as a fault in CRT gives, would reveal a factor of n.
    if not 0 <= signature < numbers.n or pow(signature, numbers.e, numbers.n) != representative:
        raise ArithmeticError("the private operation went wrong")
    return _octets(public_key, signature)


def verify(
    public_key: RSAPublicKey, message: bytes, signature: bytes, *, salt_length: int = SALT_BYTES
) -> None:
    """Raise SignatureInvalid unless `signature` is of `message` (RFC 9474, Section 4.5)."""
    scheme = _PSS if salt_length == SALT_BYTES else _pss(salt_length)
    try:
        public_key.verify(signature, message, scheme, _SHA384)
    except InvalidSignature:
        raise SignatureInvalid("the signature does not verify") from None


def read_residue(public_key: RSAPublicKey, data: bytes) -> int:
    """Return the number below n that `data` is, in as many octets as n; else MalformedMessage."""
    number = int.from_bytes(data, "big")
    if len(data) != _modulus_bytes(public_key) or number >= public_key.public_numbers().n:
        raise MalformedMessage("not a number below the modulus")
    return number


def encode_pss(
    message: bytes,
    bits: int,
    salt: bytes,
    digest: Callable[[bytes], "hashlib._Hash"] = hashlib.sha384,
) -> bytes:
    """Return EMSA-PSS-ENCODE of `message` in `bits` bits (RFC 8017, Section 9.1.1)."""
    hashed = digest(bytes(8) + digest(message).digest() + salt).digest()
    size = (bits + 7) // 8 - len(hashed) - 1
    if size < len(salt) + 1:
        raise ValueError("the key is too short for this digest and salt")
    block = (b"\x01" + salt).rjust(size, b"\0")
    masked = int.from_bytes(block, "big") ^ int.from_bytes(_mgf1(hashed, size, digest), "big")
    masked &= (1 << (bits - 8 * (len(hashed) + 1))) - 1
    return masked.to_bytes(size, "big") + hashed + _TRAILER


def _mgf1(seed: bytes, size: int, digest: Callable[[bytes], "hashlib._Hash"]) -> bytes:
    """Return `size` octets of the mask of `seed` (RFC 8017, Appendix B.2.1)."""
    mask = b""
    for counter in range(-(-size // digest(b"").digest_size)):
        mask += digest(seed + counter.to_bytes(4, "big")).digest()
    return mask[:size]


def _draw(modulus: int, random: RandomBytes) -> int:
    """Return a number from 1 to n - 1, each as likely as any other."""
    size = (modulus.bit_length() + 7) // 8
    while True:
        number = int.from_bytes(random(size), "big")
        if 0 < number < modulus:
            return number


def _octets(public_key: RSAPublicKey, number: int) -> bytes:
    return number.to_bytes(_modulus_bytes(public_key), "big")


def _modulus_bytes(public_key: RSAPublicKey) -> int:
    return (public_key.key_size + 7) // 8


def _pss(salt_length: int) -> padding.PSS:
    return padding.PSS(padding.MGF1(_SHA384), salt_length)


_SHA384 = SHA384()
_PSS = _pss(SALT_BYTES)
