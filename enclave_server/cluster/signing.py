"""The keys that sign answers, as they travel: one pair for all enclaves of a cluster."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from protocol.errors import MalformedMessage
from protocol.signature import RSA_BITS, SigningKeys


def encode_signing_keys(keys: SigningKeys) -> tuple[bytes, bytes]:
    """Return the RSA key as DER (PKCS #8), and 32 octets of the Ed25519 key; both are secret."""
    rsa = keys.rsa.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return rsa, keys.ed25519.private_bytes_raw()


def decode_signing_keys(rsa: bytes, ed25519: bytes) -> SigningKeys:
    """Return the keys, or raise MalformedMessage."""
    try:
        first = load_der_private_key(rsa, password=None)
        second = Ed25519PrivateKey.from_private_bytes(ed25519)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MalformedMessage("a signing key cannot be read") from None
    if not isinstance(first, RSAPrivateKey) or first.key_size != RSA_BITS:
        raise MalformedMessage("the first signing key is not one of RSA")
    return SigningKeys(first, second)
