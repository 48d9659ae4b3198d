"""TokenChallenge (RFC 9577, Section 2.1.1): for whom a token is, and who issues it."""

import hashlib
from dataclasses import dataclass
from typing import Self

from protocol.errors import MalformedMessage

TOKEN_TYPE = 0x0002
"""Blind RSA with 2,048 bits (RFC 9578, Section 8.2.2)."""

CONTEXT_BYTES = 32
MAX_NAME_BYTES = 0xFFFF


@dataclass(frozen=True, slots=True)
class TokenChallenge:
    """A challenge for tokens of type 2; ValueError for what the format has no place for.

    `origin_info` is one name, several with commas between them, or empty for any origin.
    """

    issuer_name: str
    origin_info: str = ""
    redemption_context: bytes = b""

    def __post_init__(self) -> None:
        for name in (self.issuer_name, self.origin_info):
            if not name.isascii() or (name and not name.isprintable()):
                raise ValueError("a name of printable ASCII is needed")
            if len(name) > MAX_NAME_BYTES:
                raise ValueError("a name is too long")
        if not self.issuer_name:
            raise ValueError("an issuer has a name")
        if len(self.redemption_context) not in (0, CONTEXT_BYTES):
            raise ValueError("a redemption context has 32 octets or none")

    def encode(self) -> bytes:
        """Return the octets of the challenge."""
        return b"".join(
            (
                TOKEN_TYPE.to_bytes(2, "big"),
                _sized(self.issuer_name, 2),
                len(self.redemption_context).to_bytes(1, "big"),
                self.redemption_context,
                _sized(self.origin_info, 2),
            )
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the challenge, which stands in every token for it."""
        return hashlib.sha256(self.encode()).digest()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the challenge that `data` is, whole; MalformedMessage for another type."""
        if token_type_of(data) != TOKEN_TYPE:
            raise MalformedMessage("a challenge for tokens of another type")
        issuer_name, at = _piece(data, 2, 2)
        context, at = _piece(data, at, 1)
        origin_info, at = _piece(data, at, 2)
        if at != len(data):
            raise MalformedMessage("octets after the challenge")
        try:
            return cls(issuer_name.decode("ascii"), origin_info.decode("ascii"), context)
        except ValueError:
            raise MalformedMessage("a challenge with wrong names or context") from None


def token_type_of(data: bytes) -> int:
    """Return the type in the first two octets, by which a client passes over those of others."""
    if len(data) < 2:
        raise MalformedMessage("shorter than a token type")
    return int.from_bytes(data[:2], "big")


def _sized(name: str, size: int) -> bytes:
    return len(name).to_bytes(size, "big") + name.encode("ascii")


def _piece(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    """Return the octets behind a length of `size` octets at `at`, and the offset after them."""
    start = at + size
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise MalformedMessage("a challenge that ends too early")
    return data[start:end], end
