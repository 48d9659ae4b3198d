"""JSON as a request must be: what every reader takes alike, with bounded depth and count."""

import re
from typing import Any

from enclave_server.chat.errors import invalid
from protocol import strict_json
from protocol.errors import MalformedMessage
from protocol.strict_json import DuplicateMember, LoneSurrogate

# Schemas of tools nest, a dozen deep at most in practice.
MAX_DEPTH = 64

# A prompt of token identifiers has as many values as the longest context has tokens.
# It also bounds memory: a value of two octets would otherwise become an object of sixty.
MAX_VALUES = 1 << 18

# Each value is a string at most, and has at most one for a name.
MAX_STRINGS = 2 * (MAX_VALUES + 1)

# A string, unterminated ones included; possessive, so that it is linear in its length.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[][{}]")


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`; raises ChatError 400."""
    _check_structure(data)
    try:
        value = strict_json.decode(data.decode())
    except UnicodeDecodeError:
        raise invalid("The body is not UTF-8.") from None
    except DuplicateMember as error:
        name = printable(error.name)
        raise invalid(f"The field '{name}' occurs twice.", name) from None
    except LoneSurrogate:
        raise invalid("The body has a lone surrogate, which is no character.") from None
    except MalformedMessage:
        raise invalid("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object.")
    return value


def _check_structure(data: bytes) -> None:
    """Refuse what would cost much to parse, from the punctuation outside strings alone."""
    skeleton, strings = _STRING.subn(b"", data, count=MAX_STRINGS)
    openings = skeleton.count(b"[") + skeleton.count(b"{")
    if strings == MAX_STRINGS or skeleton.count(b",") + openings > MAX_VALUES:
        raise invalid("The body has too many values.")
    # Before they are put into a list: there may be as many as there are octets.
    if skeleton.count(b"]") + skeleton.count(b"}") > openings:
        raise invalid("The body is not valid JSON.")
    depth = 0
    for bracket in _BRACKET.findall(skeleton):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise invalid(f"The body is nested more than {MAX_DEPTH} deep.")


def printable(text: str, limit: int = 64) -> str:
    """Return a piece of the peer's text, cut, and without what UTF-8 cannot carry."""
    return text[:limit].encode("utf-8", "replace").decode()
