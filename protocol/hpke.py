"""HPKE in base mode (RFC 9180) over DHKEM(X25519, HKDF-SHA256): the one seam to pyhpke."""

import enum
import hmac
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import pyhpke
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from protocol.errors import KeyRejected

PUBLIC_KEY_SIZE = 32
"""Npk and Nenc of DHKEM(X25519, HKDF-SHA256) (RFC 9180, Section 7.1)."""

TAG_SIZE = 16
"""Nt of every AEAD in `Aead` (RFC 9180, Section 7.3)."""


class Kem(enum.IntEnum):
    """Key encapsulation mechanisms that are implemented here (RFC 9180, Section 7.1)."""

    X25519_HKDF_SHA256 = 0x0020


class Kdf(enum.IntEnum):
    """Key derivation functions that are implemented here (RFC 9180, Section 7.2)."""

    HKDF_SHA256 = 0x0001


class Aead(enum.IntEnum):
    """AEADs that are implemented here (RFC 9180, Section 7.3)."""

    AES_128_GCM = 0x0001
    AES_256_GCM = 0x0002
    CHACHA20_POLY1305 = 0x0003

    @property
    def key_size(self) -> int:
        """Nk, in bytes."""
        return 16 if self is Aead.AES_128_GCM else 32

    @property
    def nonce_size(self) -> int:
        """Nn, in bytes."""
        return 12


class Cipher(Protocol):
    """What the AEADs of `cryptography` have in common."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return `data` sealed, with its tag at the end."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return the plaintext of `data`, or raise InvalidTag."""


class PrivateKey:
    """An X25519 private key, kept in the form that a recipient needs for every request."""

    __slots__ = ("_key", "public_key")

    def __init__(self, private_key: bytes) -> None:
        key = X25519PrivateKey.from_private_bytes(private_key)
        self.public_key = key.public_key().public_bytes_raw()
        self._key = pyhpke.KEMKey.from_pyca_cryptography_key(key)

    def __repr__(self) -> str:
        return "PrivateKey(…)"


@dataclass(frozen=True, slots=True)
class Sender:
    """The sealing end of an HPKE context; messages are sealed in order."""

    enc: bytes
    aead: Aead
    _context: pyhpke.ContextInterface = field(repr=False)

    def seal(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Return the next message sealed."""
        return self._context.seal(plaintext, aad)

    def export(self, context: bytes, length: int) -> bytes:
        """Return `length` bytes of secret bound to `context` (RFC 9180, Section 5.3)."""
        return self._context.export(context, length)


@dataclass(frozen=True, slots=True)
class Recipient:
    """The opening end of an HPKE context; messages are opened in order."""

    enc: bytes
    aead: Aead
    _context: pyhpke.ContextInterface = field(repr=False)

    def open(self, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """Return the plaintext of the next message, or raise KeyRejected."""
        try:
            return self._context.open(ciphertext, aad)
        except pyhpke.PyHPKEError:
            raise KeyRejected("message does not open") from None

    def export(self, context: bytes, length: int) -> bytes:
        """Return `length` bytes of secret bound to `context` (RFC 9180, Section 5.3)."""
        return self._context.export(context, length)


def setup_sender(
    public_key: bytes, kdf: Kdf, aead: Aead, info: bytes, *, ephemeral: bytes | None = None
) -> Sender:
    """Return a context to the owner of `public_key`; `ephemeral` fixes the private key sent."""
    suite = _suite(kdf, aead)
    pair = None if ephemeral is None else _key_pair(ephemeral)
    try:
        recipient = suite.kem.deserialize_public_key(public_key)
        enc, context = suite.create_sender_context(recipient, info, eks=pair)
    except ValueError:
        # RFC 9180, Section 7.1.4: one "MUST check whether the Diffie-Hellman shared secret is the
        # all-zero value and abort if so"; cryptography does, and raises ValueError.
        raise KeyRejected("public key") from None
    return Sender(enc, aead, context)


def setup_recipient(
    enc: bytes, private_key: PrivateKey, kdf: Kdf, aead: Aead, info: bytes
) -> Recipient:
    """Return the context that the sender of `enc` made, or raise KeyRejected."""
    try:
        context = _suite(kdf, aead).create_recipient_context(enc, private_key._key, info)
    except ValueError:
        raise KeyRejected("encapsulated key") from None  # wrong size, or low order as above
    return Recipient(enc, aead, context)


def new_cipher(aead: Aead, key: bytes) -> Cipher:
    """Return `aead` under `key`, for messages outside an HPKE context."""
    return ChaCha20Poly1305(key) if aead is Aead.CHACHA20_POLY1305 else AESGCM(key)


def open_with(cipher: Cipher, nonce: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
    """Return the plaintext of `ciphertext`, or raise KeyRejected."""
    try:
        return cipher.decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise KeyRejected("message does not open") from None


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869, Section 2.2)."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256 for at most one block, 32 bytes (RFC 5869, Section 2.3)."""
    if not 0 < length <= 32:
        raise ValueError(f"length {length} is not one block")
    return hmac.digest(key, info + b"\x01", "sha256")[:length]


@cache
def _suite(kdf: Kdf, aead: Aead) -> pyhpke.CipherSuite:
    return pyhpke.CipherSuite.new(
        pyhpke.KEMId.DHKEM_X25519_HKDF_SHA256, pyhpke.KDFId(kdf), pyhpke.AEADId(aead)
    )


def _key_pair(private_key: bytes) -> pyhpke.KEMKeyPair:
    key = X25519PrivateKey.from_private_bytes(private_key)
    wrap = pyhpke.KEMKey.from_pyca_cryptography_key
    return pyhpke.KEMKeyPair(wrap(key), wrap(key.public_key()))
