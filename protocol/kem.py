"""Key encapsulation mechanisms (RFC 9180, Section 4), each by its code point.

Only here stands what depends on the mechanism. Everybody else asks a `Kem` for the sizes of keys
and of what is sent, and for its algorithms; another mechanism is one more entry of `KEMS`.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from protocol.errors import KeyRejected
from protocol.hkdf import HASH_SIZE, expand, keyed, labeled_info


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key that is ready for use, with the public key that belongs to it.

    `decapsulate` takes what was sent and returns the shared secret, or raises KeyRejected.
    """

    public_key: bytes
    decapsulate: Callable[[bytes], bytes] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Kem:
    """A mechanism: its code point, its sizes in bytes, its algorithms.

    Any bytes of the right size are a private key. `encapsulate` takes the recipient's public key
    and returns the shared secret and what is sent, or raises KeyRejected; its second argument
    fixes the ephemeral private key, for test vectors alone.
    """

    code: int
    name: str
    private_key_size: int  # Nsk
    public_key_size: int  # Npk
    enc_size: int  # Nenc
    secret_size: int  # Nsecret
    load_private_key: Callable[[bytes], PrivateKey] = field(repr=False, compare=False)
    encapsulate: Callable[[bytes, bytes | None], tuple[bytes, bytes]] = field(
        repr=False, compare=False
    )


_X25519_CODE = 0x0020
_X25519_SIZE = 32
_X25519_LABEL = b"HPKE-v1KEM" + struct.pack("!H", _X25519_CODE)
_UNSALTED = keyed(b"")


def _load_x25519(private_key: bytes) -> PrivateKey:
    key = X25519PrivateKey.from_private_bytes(private_key)
    public_key = key.public_key().public_bytes_raw()

    def decapsulate(enc: bytes) -> bytes:
        return _shared_secret(_exchange(key, enc), enc + public_key)

    return PrivateKey(public_key, decapsulate)


def _encapsulate_x25519(public_key: bytes, ephemeral: bytes | None) -> tuple[bytes, bytes]:
    if ephemeral is None:
        key = X25519PrivateKey.generate()
    else:
        key = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = key.public_key().public_bytes_raw()
    return _shared_secret(_exchange(key, public_key), enc + public_key), enc


def _exchange(key: X25519PrivateKey, peer: bytes) -> bytes:
    try:
        # RFC 9180, Section 7.1.4: one "MUST check whether the Diffie-Hellman shared secret is the
        # all-zero value and abort if so"; cryptography does, and raises ValueError. A wrong size
        # is a ValueError too.
        return key.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:
        raise KeyRejected("public key") from None


def _shared_secret(dh: bytes, context: bytes) -> bytes:
    """ExtractAndExpand (RFC 9180, Section 4.1)."""
    mac = _UNSALTED.copy()  # HKDF-Extract without a salt
    mac.update(_X25519_LABEL + b"eae_prk" + dh)
    info = labeled_info(_X25519_LABEL, b"shared_secret", context, HASH_SIZE)
    return expand(mac.finalize(), info, HASH_SIZE)


X25519_HKDF_SHA256 = Kem(
    _X25519_CODE,
    "X25519-HKDF-SHA256",
    private_key_size=_X25519_SIZE,
    public_key_size=_X25519_SIZE,
    enc_size=_X25519_SIZE,
    secret_size=HASH_SIZE,
    load_private_key=_load_x25519,
    encapsulate=_encapsulate_x25519,
)
"""DHKEM(X25519, HKDF-SHA256) (RFC 9180, Section 7.1)."""

DEFAULT_KEM = X25519_HKDF_SHA256
"""Of keys for which nobody names another; RFC 9458, Section 9, wants it everywhere."""

KEMS = {kem.code: kem for kem in (X25519_HKDF_SHA256,)}
"""All that are implemented here."""


def find_kem(code: int) -> Kem | None:
    """Return the mechanism of this code point, or None for one that is not implemented here."""
    return KEMS.get(code)
