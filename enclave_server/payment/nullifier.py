"""The nullifier: by what a spent token is known, without being the token."""

from functools import lru_cache

from protocol import hkdf
from protocol.private_token import Token

LABEL = b"oblivious-inference spent token 1"
"""The key where none is provisioned. A token has 32 random octets that nobody saw before it was
sent, so that what is made of them says nothing, whatever the key; a secret one only keeps whoever
has a copy of a wallet from finding its tokens in the store."""

BYTES = 32

MIN_KEY_CHARACTERS = 32
"""Of a provisioned key, which is text."""


def nullifier(key: bytes, token: Token) -> bytes:
    """Return the 32 octets by which all enclaves of one key know that `token` is spent."""
    mac = _keyed(key).copy()
    mac.update(token.token_input)
    return mac.finalize()


_keyed = lru_cache(maxsize=1)(hkdf.keyed)
