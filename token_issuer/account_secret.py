"""Secrets of accounts: who knows one may spend the account's balance, and nothing names anybody.

A voucher is an account with a printed secret; an API key is the same, and is topped up.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable

PREFIX = "OBL-"

CHARACTERS = 26
"""Of base32, 5 bits each: 130 bits, which nobody finds by trying."""

LEAST_DIFFERENT = 9
"""Of the characters of a secret that somebody else made."""

_FORM = re.compile(rf"{PREFIX}([A-Z2-7]{{{CHARACTERS}}})")


def new_secret(random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return a fresh secret: `OBL-` and 26 characters of base32 (RFC 4648, Section 6)."""
    octets = random(-(-CHARACTERS * 5 // 8))
    return PREFIX + base64.b32encode(octets).decode("ascii")[:CHARACTERS]


def is_secret(text: str) -> bool:
    """Tell whether a text, capitals and spaces aside, is what `new_secret` may have made.

    A buyer may make the secret of a voucher to pay for: what was typed, and not drawn, is refused.
    """
    found = _FORM.fullmatch("".join(text.split()).upper())
    # Of 26 that were drawn, fewer are different once in half a thousand million times.
    return found is not None and len(set(found[1])) >= LEAST_DIFFERENT


def secret_digest(secret: str) -> bytes:
    """Return the SHA-256 by which the ledger knows a secret; capitals and spaces do not matter.

    No salt and no slow hash: there is nothing to guess in 130 random bits.
    """
    return hashlib.sha256("".join(secret.split()).upper().encode()).digest()
