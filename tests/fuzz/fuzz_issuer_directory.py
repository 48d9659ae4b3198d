"""Directories of issuers: what is read, written again, reads as the same; keys have one form."""

from protocol.errors import MalformedMessage
from protocol.issuer_directory import LATEST_TIME, DirectoryKey, IssuerDirectory
from protocol.token_key import TokenKey
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import REFUSED, Refused, attempt
from tests.protocol.test_issuer_directory import DIRECTORY, LISTED, directory
from tests.protocol.test_token_key import RSA_ENCRYPTION
from tests.support.private_tokens import KEY, OTHER_KEY

MAX_BYTES = 4096

FAULTS = (
    slips("protocol.token_key.TokenKey.decode", MalformedMessage),
    slips("protocol.issuer_directory._read", MalformedMessage),
    slips("protocol.strict_json.decode_object", MalformedMessage),
    returns("protocol.issuer_directory._read", lambda found: DirectoryKey(found.key, -1)),
)


def seeds() -> list[bytes]:
    """Return directories, good and odd, and keys."""
    odd = [
        directory({**LISTED, "token-type": 1}, LISTED, more=[]),
        directory({**LISTED, "not-before": True}),
        directory({**LISTED, "token-key": "AAAA"}),
        directory(None),
        b"{}",
    ]
    keys = [KEY.spki, OTHER_KEY.spki, RSA_ENCRYPTION, KEY.spki[:-5] + b"\2\1\3"]
    return [DIRECTORY.encode(), *odd, *keys]


def run(data: bytes) -> None:
    """Read a key, and a directory."""
    key = attempt(TokenKey.decode, data)
    if not isinstance(key, Refused):
        assert key.spki == data
        assert TokenKey.from_public_key(key.public_key) == key
        assert attempt(TokenKey.decode, data + b"\0") is REFUSED
    found = attempt(IssuerDirectory.decode, data)
    if isinstance(found, Refused):
        return
    assert IssuerDirectory.decode(found.encode()) == found
    assert all(found.has(each.key) for each in found.keys)
    times = [each.not_before for each in found.keys if each.not_before is not None]
    assert all(0 <= time <= LATEST_TIME for time in times)
