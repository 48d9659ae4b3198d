"""The PrivateToken authentication scheme (RFC 9577, Section 2): its two fields, strictly read."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from protocol import base64url
from protocol.errors import MalformedMessage
from protocol.private_token import TOKEN_BYTES, Token

SCHEME = b"PrivateToken"

MAX_FIELD_BYTES = 16384
"""Of a WWW-Authenticate field: twenty challenges, where one is what a gateway sends."""

MAX_AGE_DIGITS = 10
"""Of seconds: three hundred years."""

_NAME = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TEXT = rb'"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)"'
_TOKEN68 = rb"[0-9A-Za-z._~+/-]+=*"
_END = rb"[ \t]*(?:,|\Z)"
# RFC 9110, Section 11.2. A value without quotes may end in the padding of base64, which the
# grammar of a token has no place for and other implementations send.
_PARAMETER = re.compile(
    rb"(?:(%b) +)?(%b)[ \t]*=[ \t]*(?:%b|(%b=*))%b" % (_NAME, _NAME, _TEXT, _NAME, _END)
)
_OTHER = re.compile(rb"(%b)(?: +%b)?%b" % (_NAME, _TOKEN68, _END))
_EMPTY = re.compile(rb"[ \t]*(?:,[ \t]*)*")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)

# Of the token the size alone: what its octets may be is what base64url has one encoding for.
_CREDENTIALS = re.compile(
    rb'(?i:PrivateToken +token)[ \t]*=[ \t]*("?)(.{%d})\1' % (TOKEN_BYTES * 4 // 3), re.DOTALL
)


@dataclass(frozen=True, slots=True)
class PrivateTokenChallenge:
    """One challenge of a WWW-Authenticate field; what is in it is not yet read.

    `challenge` is a TokenChallenge of any type, `token_key` a key of that type, `max_age` seconds.
    """

    challenge: bytes
    token_key: bytes | None = field(default=None, repr=False)
    max_age: int | None = None

    def encode(self) -> bytes:
        """Return the field's value."""
        parameters = [b"challenge=" + base64url.encode(self.challenge)]
        if self.token_key is not None:
            parameters.append(b"token-key=" + base64url.encode(self.token_key))
        if self.max_age is not None:
            parameters.append(b"max-age=%d" % self.max_age)
        return SCHEME + b" " + b", ".join(parameters)


def encode_authorization(token: Token) -> bytes:
    """Return the value of the field that redeems `token`; without quotes, as all peers read it."""
    return SCHEME + b" token=" + base64url.encode(token.encode())


def decode_authorization(values: Sequence[bytes]) -> Token:
    """Return the one token in a request's Authorization fields; else MalformedMessage.

    RFC 9577, Section 2.2: one token in one request. Nothing stands beside it.
    """
    if len(values) != 1:
        raise MalformedMessage("not one Authorization field")
    match = _CREDENTIALS.fullmatch(values[0])
    if match is None:
        raise MalformedMessage("not one PrivateToken")
    return Token.decode(base64url.decode(match[2]))


def decode_challenges(value: bytes) -> list[PrivateTokenChallenge]:
    """Return the PrivateToken challenges of a WWW-Authenticate field, in their order.

    Other schemes and unknown parameters are passed over, as RFC 9577, Section 2.1, wants it.
    MalformedMessage for what is no such field, or a PrivateToken without its challenge.
    """
    if len(value) > MAX_FIELD_BYTES:
        raise MalformedMessage("a WWW-Authenticate field that is too long")
    found: list[tuple[bytes, dict[bytes, bytes]]] = []
    for scheme, name, text in _elements(value):
        if scheme:
            found.append((scheme.lower(), {}))
        if name is None:
            continue
        if not found or name.lower() in found[-1][1]:
            raise MalformedMessage("a parameter without a scheme, or twice")
        found[-1][1][name.lower()] = text
    return [_challenge(parameters) for scheme, parameters in found if scheme == SCHEME.lower()]


def _elements(value: bytes) -> Iterator[tuple[bytes | None, bytes | None, bytes]]:
    """Yield what stands between commas: a scheme, if one begins, a parameter's name, its value."""
    at = _skip(value, 0)
    while at < len(value):
        if match := _PARAMETER.match(value, at):
            text = match[4] if match[3] is None else _ESCAPE.sub(rb"\1", match[3])
            yield match[1], match[2], text
        elif match := _OTHER.match(value, at):
            yield match[1], None, b""
        else:
            raise MalformedMessage("not a WWW-Authenticate field")
        at = _skip(value, match.end())


def _skip(value: bytes, at: int) -> int:
    """Return the offset behind empty elements (RFC 9110, Section 5.6.1.2)."""
    match = _EMPTY.match(value, at)
    return at if match is None else match.end()


def _challenge(parameters: dict[bytes, bytes]) -> PrivateTokenChallenge:
    if b"challenge" not in parameters:
        raise MalformedMessage("a PrivateToken without its challenge")
    key = parameters.get(b"token-key")
    return PrivateTokenChallenge(
        base64url.decode(parameters[b"challenge"]),
        None if key is None else base64url.decode(key),
        _max_age(parameters.get(b"max-age")),
    )


def _max_age(text: bytes | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or len(text) > MAX_AGE_DIGITS:
        raise MalformedMessage("a max-age that is no number of seconds")
    return int(text)
