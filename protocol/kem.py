"""Key encapsulation mechanisms (RFC 9180, Section 4), each by its code point.

Only here stands what depends on the mechanism. Everybody else asks a `Kem` for the sizes of keys
and of what is sent, and for its algorithms; another mechanism is one more entry of `KEMS`.

X-Wing (draft-connolly-cfrg-xwing-kem-10; MLKEM768-X25519 in draft-ietf-hpke-pq) joins ML-KEM-768
(FIPS 203) with X25519, so that what is sealed stays so as long as either of them holds.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
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
    fixes the ephemeral X25519 key, for test vectors alone.
    """

    code: int
    name: str
    private_key_size: int  # Nsk
    public_key_size: int  # Npk
    enc_size: int  # Nenc
    secret_size: int  # Nsecret
    load_private_key: Callable[[bytes], PrivateKey]
    encapsulate: Callable[[bytes, bytes | None], tuple[bytes, bytes]]


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
    key = _ephemeral_key(ephemeral)
    enc = key.public_key().public_bytes_raw()
    return _shared_secret(_exchange(key, public_key), enc + public_key), enc


def _ephemeral_key(fixed: bytes | None) -> X25519PrivateKey:
    if fixed is None:
        return X25519PrivateKey.generate()
    return X25519PrivateKey.from_private_bytes(fixed)


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

_XWING_SIZE = 32  # of the seed that both private keys come from
_ML_KEM_SEED_SIZE = 64
_ML_KEM_PUBLIC_SIZE = 1184
_ML_KEM_SENT_SIZE = 1088
_XWING_LABEL = b"\\.//^\\"


def _load_xwing(private_key: bytes) -> PrivateKey:
    if len(private_key) != _XWING_SIZE:
        raise ValueError(f"a private key of X-Wing has {_XWING_SIZE} bytes")
    expanded = hashlib.shake_256(private_key).digest(_ML_KEM_SEED_SIZE + _X25519_SIZE)
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_ML_KEM_SEED_SIZE])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[_ML_KEM_SEED_SIZE:])
    public_key = x25519.public_key().public_bytes_raw()

    def decapsulate(enc: bytes) -> bytes:
        if len(enc) != X_WING.enc_size:
            raise KeyRejected("encapsulated key")
        sent = enc[_ML_KEM_SENT_SIZE:]
        # Whatever ML-KEM is sent, it answers with a secret: of what was altered with one that
        # nobody else has (FIPS 203, Algorithm 18), so that the message does not open.
        secret = ml_kem.decapsulate(enc[:_ML_KEM_SENT_SIZE])
        return _combined(secret, _exchange(x25519, sent), sent, public_key)

    return PrivateKey(ml_kem.public_key().public_bytes_raw() + public_key, decapsulate)


def _encapsulate_xwing(public_key: bytes, ephemeral: bytes | None) -> tuple[bytes, bytes]:
    x25519 = public_key[_ML_KEM_PUBLIC_SIZE:]
    try:
        # FIPS 203, Section 7.2: a key whose coefficients are not reduced is refused; cryptography
        # raises ValueError, as for a wrong size. UnsupportedAlgorithm: its OpenSSL has no ML-KEM.
        ml_kem = MLKEM768PublicKey.from_public_bytes(public_key[:_ML_KEM_PUBLIC_SIZE])
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRejected("public key") from None
    key = _ephemeral_key(ephemeral)
    sent = key.public_key().public_bytes_raw()
    dh = _exchange(key, x25519)
    secret, ciphertext = ml_kem.encapsulate()
    return _combined(secret, dh, sent, x25519), ciphertext + sent


def _combined(ml_kem: bytes, dh: bytes, sent: bytes, public_key: bytes) -> bytes:
    """X-Wing's combiner (Section 5.3); `sent` and `public_key` are those of X25519.

    ML-KEM's own secret is bound to what was sent and to its key, as that of X25519 is not.
    """
    return hashlib.sha3_256(ml_kem + dh + sent + public_key + _XWING_LABEL).digest()


X_WING = Kem(
    0x647A,
    "X-Wing",
    private_key_size=_XWING_SIZE,
    public_key_size=_ML_KEM_PUBLIC_SIZE + _X25519_SIZE,
    enc_size=_ML_KEM_SENT_SIZE + _X25519_SIZE,
    secret_size=HASH_SIZE,
    load_private_key=_load_xwing,
    encapsulate=_encapsulate_xwing,
)
"""X-Wing, or MLKEM768-X25519 (draft-ietf-hpke-pq): what is recorded today stays sealed when large
quantum computers exist."""

DEFAULT_KEM = X25519_HKDF_SHA256
"""Of keys for which nobody names another; RFC 9458, Section 9, wants it everywhere."""

KEMS = {kem.code: kem for kem in (X_WING, X25519_HKDF_SHA256)}
"""All that are implemented here, the one that is preferred first."""


def find_kem(code: int) -> Kem | None:
    """Return the mechanism of this code point, or None for one that is not implemented here."""
    return KEMS.get(code)
