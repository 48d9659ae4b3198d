"""JSON as a request must be: what every reader takes alike, with bounded depth and count."""

import re
from typing import Any

from enclave_server.chat.errors import ChatError, invalid
from protocol import strict_json
from protocol.errors import MalformedMessage
from protocol.strict_json import MAX_DIGITS, DuplicateMember, LoneSurrogate, LongInteger

# Schemas of tools nest, a dozen deep at most in practice.
MAX_DEPTH = 64

# A prompt of token identifiers has as many values as the longest context has tokens.
# It also bounds memory: a value of two octets would otherwise become an object of sixty.
MAX_VALUES = 1 << 18

# Each value is a string at most, and has at most one for a name; each string has two quotes.
MAX_QUOTES = 4 * MAX_VALUES

_LONG_INTEGER = re.compile(rb'"([^"\\]{1,64})"\s*:\s*-?[0-9]{20}')
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
    except LongInteger:
        raise _long_integer(data) from None
    except LoneSurrogate:
        raise invalid("The body has a lone surrogate, which is no character.") from None
    except MalformedMessage:
        raise invalid("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object.")
    return value


def _check_structure(data: bytes) -> None:
    """Refuse what would cost much to parse, from the punctuation outside strings alone."""
    skeleton = _outside_strings(data)
    openings = skeleton.count(b"[") + skeleton.count(b"{")
    if skeleton.count(b",") + openings > MAX_VALUES:
        raise invalid("The body has too many values.")
    # Before they are put into a list: there may be as many as there are octets.
    if skeleton.count(b"]") + skeleton.count(b"}") > openings:
        raise invalid("The body is not valid JSON.")
    depth = 0
    for bracket in _BRACKET.findall(skeleton):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise invalid(f"The body is nested more than {MAX_DEPTH} deep.")


def _outside_strings(data: bytes) -> bytes:
    """Return what is left of `data` without its strings, and without their quotes.

    Escapes stand in strings alone: what stands before the first one outside is judged rightly, and
    there whoever parses the text stops.
    """
    if b"\\" in data:
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    # Before they are put into a list: there may be as many as there are octets.
    if data.count(b'"') > MAX_QUOTES:
        raise invalid("The body has too many values.")
    return b"".join(data.split(b'"')[::2])


def _long_integer(data: bytes) -> ChatError:
    """Return the refusal, with the name of the member that is most likely meant, if any is."""
    found = _LONG_INTEGER.search(data)
    if found is None:
        return invalid(f"The body has an integer of more than {MAX_DIGITS} digits.")
    name = printable(found[1].decode(errors="replace"))
    message = f"Invalid value for '{name}': an integer of more than {MAX_DIGITS} digits."
    return invalid(message, name, "invalid_value")


def printable(text: str, limit: int = 64) -> str:
    """Return a piece of the peer's text, cut, and without what UTF-8 cannot carry."""
    return text[:limit].encode("utf-8", "replace").decode()
