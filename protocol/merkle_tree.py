"""The hash of a list as RFC 6962 makes it (Section 2.1), with SHA-256."""

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two neighbours; its first octet is none that a leaf's hash begins with."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_hash(entries: Sequence[bytes]) -> bytes:
    """Return the Merkle Tree Hash of a list, which may be empty."""
    if not entries:
        return hashlib.sha256().digest()
    # Perfect trees of falling size; the sizes of those that are whole are the bits of the count.
    waiting: list[bytes] = []
    for count, entry in enumerate(entries):
        found = leaf_hash(entry)
        while count & 1:
            found = node_hash(waiting.pop(), found)
            count >>= 1
        waiting.append(found)
    found = waiting.pop()
    while waiting:
        found = node_hash(waiting.pop(), found)
    return found
