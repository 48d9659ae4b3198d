"""The directory of an issuer's keys (RFC 9578, Section 4)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from protocol import base64url, strict_json
from protocol.errors import MalformedMessage
from protocol.purchase_receipt import KEY_BYTES
from protocol.token_challenge import TOKEN_TYPE
from protocol.token_key import TokenKey

MAX_DIRECTORY_BYTES = 65536
"""A hundred keys of type 2."""

LATEST_TIME = 1 << 37
"""In the year 6325: not every library can turn a later time into a date."""

_RECEIPT_KEY = "oblivious-receipt-key"


@dataclass(frozen=True, slots=True)
class DirectoryKey:
    """A key, and from when on it is used, in Unix seconds; at once where that is not said."""

    key: TokenKey
    not_before: int | None = None


@dataclass(frozen=True, slots=True)
class IssuerDirectory:
    """What an issuer tells: where requests go, a URI or a path of its own, and keys of type 2.

    The key that the issuer prefers stands first. `receipt_key` is the Ed25519 key, 32 octets, by
    which its receipts verify; RFC 9578 knows no such member, and lets others stand there.
    """

    request_uri: str
    keys: tuple[DirectoryKey, ...]
    receipt_key: bytes | None = None

    def __post_init__(self) -> None:
        if not self.request_uri or not all("!" <= each <= "~" for each in self.request_uri):
            raise ValueError("a URI of printable ASCII without spaces is needed")
        if self.receipt_key is not None and len(self.receipt_key) != KEY_BYTES:
            raise ValueError("a key for receipts has 32 octets")

    def encode(self) -> bytes:
        """Return the JSON that is served."""
        members: dict[str, object] = {
            "issuer-request-uri": self.request_uri,
            "token-keys": [_members(each) for each in self.keys],
        }
        if self.receipt_key is not None:
            members[_RECEIPT_KEY] = base64url.encode(self.receipt_key).decode()
        return json.dumps(members, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> "IssuerDirectory":
        """Read what was served, or raise MalformedMessage.

        Unknown members and keys of other types are passed over.
        """
        if len(data) > MAX_DIRECTORY_BYTES:
            raise MalformedMessage("the directory is too large")
        members = strict_json.decode_object(data)
        listed = members.get("token-keys")
        if not isinstance(listed, list):
            raise MalformedMessage("a directory without a list of keys")
        keys = [_read(each) for each in listed if _token_type(each) == TOKEN_TYPE]
        try:
            uri = strict_json.decode_ascii(members.get("issuer-request-uri")).decode()
            return cls(uri, tuple(keys), _receipt_key(members.get(_RECEIPT_KEY)))
        except ValueError as error:
            raise MalformedMessage(str(error)) from None

    def has(self, key: TokenKey) -> bool:
        """Tell whether the issuer lists exactly this key."""
        return any(each.key == key for each in self.keys)


def _members(listed: DirectoryKey) -> dict[str, int | str]:
    members: dict[str, int | str] = {
        "token-type": TOKEN_TYPE,
        "token-key": base64url.encode(listed.key.spki).decode(),
    }
    if listed.not_before is not None:
        members["not-before"] = listed.not_before
    return members


def _token_type(listed: object) -> int:
    if not isinstance(listed, dict):
        raise MalformedMessage("a key that is no object")
    token_type = listed.get("token-type")
    if type(token_type) is not int:
        raise MalformedMessage("a key without a type")
    return token_type


def _read(listed: Mapping[str, object]) -> DirectoryKey:
    spki = base64url.decode(strict_json.decode_ascii(listed.get("token-key")))
    not_before = listed.get("not-before")
    if not_before is not None and not (type(not_before) is int and 0 <= not_before <= LATEST_TIME):
        raise MalformedMessage("a time that is no number of Unix seconds")
    return DirectoryKey(TokenKey.decode(spki), not_before)


def _receipt_key(value: object) -> bytes | None:
    return None if value is None else base64url.decode(strict_json.decode_ascii(value))
