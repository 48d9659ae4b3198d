"""Privacy Pass tokens of type 2, from their request to their redemption (RFC 9578, Section 6).

`request_token` returns what an issuer gets, and the `PendingToken` that alone makes a token of the
answer. Neither issuer nor origin can tell which request a token is of.
"""

import secrets
from dataclasses import dataclass, field
from typing import Self

from protocol.blind_rsa import (
    SALT_BYTES,
    Blinding,
    PrivateOperation,
    RandomBytes,
    blind,
    blind_sign,
    verify,
)
from protocol.errors import KeyRejected, MalformedMessage, SignatureInvalid
from protocol.token_challenge import TOKEN_TYPE, token_type_of
from protocol.token_key import KEY_ID_BYTES, MODULUS_BYTES, TokenKey

NONCE_BYTES = 32
DIGEST_BYTES = 32
INPUT_BYTES = 2 + NONCE_BYTES + DIGEST_BYTES + KEY_ID_BYTES
TOKEN_BYTES = INPUT_BYTES + MODULUS_BYTES
REQUEST_BYTES = 3 + MODULUS_BYTES
RESPONSE_BYTES = MODULUS_BYTES

_TYPE = TOKEN_TYPE.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Token:
    """A token (RFC 9577, Section 2.2), which is money to whoever has it, and is never printed."""

    nonce: bytes = field(repr=False)
    challenge_digest: bytes
    token_key_id: bytes
    authenticator: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not len(self.nonce) == len(self.challenge_digest) == len(self.token_key_id) == 32:
            raise ValueError("a nonce, a digest and a key identifier have 32 octets each")
        if len(self.authenticator) != MODULUS_BYTES:
            raise ValueError("an authenticator has 256 octets")

    @property
    def token_input(self) -> bytes:
        """What the authenticator signs, 98 octets; no two tokens have the same."""
        return b"".join((_TYPE, self.nonce, self.challenge_digest, self.token_key_id))

    def encode(self) -> bytes:
        """Return the token's 354 octets."""
        return self.token_input + self.authenticator

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the token that `data` is, whole; else MalformedMessage."""
        if len(data) != TOKEN_BYTES or not data.startswith(_TYPE):
            raise MalformedMessage("not a token of type 2")
        return cls(data[2:34], data[34:66], data[66:INPUT_BYTES], data[INPUT_BYTES:])

    def verify(self, key: TokenKey, challenge_digest: bytes) -> None:
        """Raise ProtocolError unless the token is of that key, for that challenge, and signed."""
        if self.token_key_id != key.key_id:
            raise KeyRejected("a token of another key")
        if self.challenge_digest != challenge_digest:  # neither is a secret
            raise SignatureInvalid("a token for another challenge")
        verify(key.public_key, self.token_input, self.authenticator)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What an issuer gets for one token (RFC 9578, Section 6.1)."""

    truncated_key_id: int
    blinded_message: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.truncated_key_id <= 0xFF or len(self.blinded_message) != MODULUS_BYTES:
            raise ValueError("a request has one octet of an identifier and 256 of a message")

    def encode(self) -> bytes:
        """Return the request's 259 octets."""
        return _TYPE + self.truncated_key_id.to_bytes(1, "big") + self.blinded_message

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the request that `data` is, whole; else MalformedMessage."""
        if len(data) != REQUEST_BYTES or token_type_of(data) != TOKEN_TYPE:
            raise MalformedMessage("not a request for a token of type 2")
        return cls(data[2], data[3:])

    def answer(self, key: TokenKey, private_operation: PrivateOperation) -> bytes:
        """Return the TokenResponse, 256 octets (RFC 9578, Section 6.2).

        KeyRejected if another key is meant; else as `blind_rsa.blind_sign`.
        """
        # RFC 9578, Section 6.2: the request must name the issuer's key.
        if self.truncated_key_id != key.truncated_id:
            raise KeyRejected("a request for a token of another key")
        return blind_sign(key.public_key, self.blinded_message, private_operation)


@dataclass(frozen=True, slots=True)
class PendingToken:
    """What a client keeps between request and answer; its fields make it again after a restart.

    Whoever lost it has paid for nothing, and whoever else reads it can tie token to request.
    """

    key: TokenKey
    challenge_digest: bytes
    nonce: bytes = field(repr=False)
    inverse: int = field(repr=False)

    def finalize(self, response: bytes) -> Token:
        """Return the verified token that a TokenResponse is for (RFC 9578, Section 6.3).

        MalformedMessage or SignatureInvalid for a response that is not to this request.
        """
        signed = token_input(self.nonce, self.challenge_digest, self.key.key_id)
        blinding = Blinding(self.key.public_key, signed, self.inverse)
        authenticator = blinding.finalize(response)
        return Token(self.nonce, self.challenge_digest, self.key.key_id, authenticator)


def request_token(
    key: TokenKey, challenge_digest: bytes, *, random: RandomBytes = secrets.token_bytes
) -> tuple[TokenRequest, PendingToken]:
    """Return a request for a token, and what makes a token of its answer.

    `random` gives the nonce, the salt of PSS and the blinding factor, in this order.
    MalformedMessage for a key that cannot be an honest one.
    """
    nonce = random(NONCE_BYTES)
    signed = token_input(nonce, challenge_digest, key.key_id)
    blinded, blinding = blind(key.public_key, signed, random=random, salt_length=SALT_BYTES)
    pending = PendingToken(key, challenge_digest, nonce, blinding.inverse)
    return TokenRequest(key.truncated_id, blinded), pending


def token_input(nonce: bytes, challenge_digest: bytes, token_key_id: bytes) -> bytes:
    """Return what is signed of a token, 98 octets."""
    return _TYPE + nonce + challenge_digest + token_key_id
