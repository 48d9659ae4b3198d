"""The fields of PrivateToken: what is read, written again, reads as the same.

The first octet tells whether the rest is an Authorization or a WWW-Authenticate.
"""

import re

from protocol import base64url
from protocol.errors import MalformedMessage
from protocol.private_token import Token
from protocol.token_fields import (
    decode_authorization,
    decode_challenges,
    encode_authorization,
)
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import REFUSED, Refused, attempt
from tests.protocol.test_token_fields import HEADERS
from tests.support.private_tokens import ISSUANCES

MAX_BYTES = 2048
FIELD = encode_authorization(Token.decode(bytes.fromhex(ISSUANCES[0]["token"])))

FAULTS = (
    slips("protocol.base64url.decode", MalformedMessage),
    slips("protocol.token_fields._challenge", MalformedMessage),
    returns("protocol.token_fields._max_age", lambda age: None if age is None else age + 1),
    replaced("protocol.token_fields._CREDENTIALS", re.compile(rb"P.*=()([\w-]{472})")),
    replaced("protocol.token_fields.MAX_AGE_DIGITS", 11),
)


def seeds() -> list[bytes]:
    """Return fields of the specification and of other implementations, and odd ones."""
    challenges = [
        *(case["WWW-Authenticate"].encode() for case in HEADERS),
        b'Basic realm="a\\"b", Negotiate YQ==, PrivateToken challenge=AAI=, max-age=10',
        b"PrivateToken max-age=1, challenge=YQ==, PrivateToken challenge=",
        b"PrivateToken challenge=YQ",
        b"PrivateToken challenge=YQ==, max-age=" + b"9" * 11,
    ]
    tokens = [FIELD, FIELD.replace(b"=", b'="') + b'"', FIELD + b", " + FIELD, FIELD[:-4]]
    return [*(b"\0" + each for each in tokens), *(b"\1" + each for each in challenges)]


def run(data: bytes) -> None:
    """Read a field of either kind."""
    (_challenges if data and data[0] % 2 else _token)(data[1:])


def _token(value: bytes) -> None:
    token = attempt(decode_authorization, [value])
    if isinstance(token, Refused):
        return
    plain = encode_authorization(token)
    assert decode_authorization([plain]) == token
    written = value.replace(b'"', b"").replace(b"\t", b"").replace(b" ", b"")
    assert written[18:] == plain[19:]
    assert written[:18].lower() == b"privatetokentoken="
    for wrong in ([], [value, value], [value + b"A"], [value + b"," + value]):
        assert attempt(decode_authorization, wrong) is REFUSED


def _challenges(value: bytes) -> None:
    found = attempt(decode_challenges, value)
    if isinstance(found, Refused):
        return
    written = b", ".join(each.encode() for each in found)
    ages = [age for each in found if (age := each.max_age) is not None]
    assert all(0 <= age < 10**10 and (b"%d" % age in value or b"\\" in value) for age in ages)
    assert all(base64url.encode(each.challenge) in value or b"\\" in value for each in found)
    if all(each.challenge and each.token_key != b"" for each in found):
        assert decode_challenges(written) == found
