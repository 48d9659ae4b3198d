"""Secrets on their way between processes: proposed by a worker, accepted by the supervisor once."""

import secrets
from typing import Self

import msgspec

from protocol.provisioning import MAX_CONTENT_BYTES, Secrets

IDENTIFIER_BYTES = 16

MAX_PROPOSAL_BYTES = MAX_CONTENT_BYTES
"""A statement is base64 of JSON in its content, and shorter here."""


class Proposal(msgspec.Struct, frozen=True):
    """Secrets with a random number, by which the worker that proposed them knows them again."""

    identifier: bytes
    keys: dict[str, str]
    settings: dict[str, dict[str, str]]

    def __repr__(self) -> str:
        return f"Proposal({len(self.keys)} keys)"

    @classmethod
    def of(cls, given: Secrets) -> Self:
        """Return a new proposal of `given`."""
        settings = {name: dict(account) for name, account in given.settings.items()}
        return cls(secrets.token_bytes(IDENTIFIER_BYTES), dict(given.keys), settings)

    def encode(self) -> bytes:
        """Return the secret bytes for the other process."""
        return msgspec.msgpack.encode(self)


def decode_proposal(data: bytes) -> Proposal | None:
    """Return what `encode` was given; None for anything else, which no sound worker sends."""
    try:
        return msgspec.msgpack.decode(data, type=Proposal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
