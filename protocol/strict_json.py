"""JSON that means one thing to every reader (RFC 8259; RFC 7493 says what readers differ in)."""

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable, Set
from typing import Any, Never

from protocol.errors import MalformedMessage

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

MAX_DIGITS = 19
"""Of an integer: what 64 bits hold. The cost of one grows with the square of its digits."""

MAX_DEPTH = 128
"""Of an object: twice what a request may nest. What is read deeper cannot always be written."""


class DuplicateMember(MalformedMessage):
    """An object has two members of one name, of which one reader takes the first."""

    def __init__(self, name: str) -> None:
        super().__init__("a member occurs twice")
        self.name = name


class LongInteger(MalformedMessage):
    """An integer has more than MAX_DIGITS digits, which readers round, refuse or choke on."""


class LoneSurrogate(MalformedMessage):
    """A text has half a character, which has no octets."""


def decode(text: str) -> Any:
    """Return the JSON value in `text`, or raise MalformedMessage."""
    try:
        value = _DECODER.decode(text)
        if _SURROGATE.search(text):
            _refuse_lone_surrogates(value)
    except (ValueError, RecursionError):
        raise MalformedMessage("not JSON") from None
    return value


def decode_object(data: bytes | str) -> dict[str, Any]:
    """Return the JSON object in `data`, which is UTF-8, or raise MalformedMessage."""
    try:
        value = decode(data if isinstance(data, str) else data.decode())
    except UnicodeDecodeError:
        raise MalformedMessage("not UTF-8") from None
    if not isinstance(value, dict):
        raise MalformedMessage("not a JSON object")
    _refuse_deep(value, data)
    return value


def decode_members(data: bytes, names: Set[str]) -> dict[str, Any]:
    """Return the JSON object in `data` if it has exactly these members; else MalformedMessage."""
    members = decode_object(data)
    if members.keys() != names:
        raise MalformedMessage("not an object of the members that it has to have")
    return members


def decode_base64(value: object) -> bytes:
    """Return the octets whose base64 (RFC 4648, Section 4) a member holds; else MalformedMessage.

    RFC 4648, Section 3.3: characters outside the alphabet are refused.
    """
    try:
        return base64.b64decode(decode_ascii(value), validate=True)
    except binascii.Error:
        raise MalformedMessage("not base64") from None


def decode_ascii(value: object) -> bytes:
    """Return the octets of a member that is a text of ASCII; else MalformedMessage."""
    if not isinstance(value, str) or not value.isascii():
        raise MalformedMessage("not a text of ASCII")
    return value.encode("ascii")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise DuplicateMember(name)
        seen.add(name)
    return members


def _short_integer(text: str) -> int:
    if len(text) - text.startswith("-") > MAX_DIGITS:
        raise LongInteger("an integer is too long")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _refuse_constant(_: str) -> Never:
    raise ValueError


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise LoneSurrogate from None


def _refuse_deep(value: object, text: bytes | str) -> None:
    """Raise MalformedMessage for what nests too deeply, without recursion."""
    if _openings(text) <= MAX_DEPTH:
        return  # nearly all
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
    if any(isinstance(inner, dict | list) for inner in level):
        raise MalformedMessage("nested too deeply")


def _openings(text: bytes | str) -> int:
    if isinstance(text, str):
        return text.count("[") + text.count("{")
    return text.count(b"[") + text.count(b"{")


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_refuse_constant,
    parse_float=_finite,
    parse_int=_short_integer,
)
