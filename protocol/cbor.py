"""A strict reader for the part of CBOR (RFC 8949) that attestation uses.

Read are integers, byte and text strings, arrays, maps, false, true and null. Arrays and maps may
have an indefinite length, because documents of August 2025 and later do; strings may not.
Refused are floating point, tags, other simple values, duplicate keys, keys that are neither
integers nor text, lengths that are not in their shortest form, deep nesting and anything that
follows the item. General decoders let some of these pass, and then two readers can see two
different documents in the same signed bytes.
"""

import enum

from protocol.errors import MalformedMessage

Value = int | bytes | str | list["Value"] | dict[int | str, "Value"] | None
"""What `decode` returns; `bool` is among the integers."""

MAX_DEPTH = 4
"""A security module's answer nests three levels, an attestation document two."""

INDEFINITE, BREAK = 31, 0xFF
CONSTANTS: dict[int, bool | None] = {0xF4: False, 0xF5: True, 0xF6: None}


class Major(enum.IntEnum):
    """Major types (RFC 8949, Section 3.1)."""

    UNSIGNED = 0
    NEGATIVE = 1
    BYTES = 2
    TEXT = 3
    ARRAY = 4
    MAP = 5
    TAG = 6
    OTHER = 7


def decode(data: bytes) -> Value:
    """Return the one item that `data` is, or raise MalformedMessage."""
    reader = _Reader(data)
    value = reader.item(MAX_DEPTH)
    if reader.at != len(data):
        raise MalformedMessage("bytes follow the CBOR item")
    return value


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def item(self, depth: int) -> Value:
        initial = self.take(1)[0]
        if initial in CONSTANTS:
            return CONSTANTS[initial]
        major, info = Major(initial >> 5), initial & 31
        if major in (Major.TAG, Major.OTHER):
            raise MalformedMessage("a tag, a floating-point number or an unknown simple value")
        if major in (Major.ARRAY, Major.MAP):
            if depth == 0:
                raise MalformedMessage("CBOR nested too deeply")
            count = None if info == INDEFINITE else self.argument(info)
            return (self.array if major is Major.ARRAY else self.map)(count, depth - 1)
        return self.scalar(major, self.argument(info))

    def argument(self, info: int) -> int:
        """Read the rest of a head (Section 3), which must be as short as it can be."""
        if info < 24:
            return info
        if info > 27:
            raise MalformedMessage("a reserved or misplaced CBOR length")
        size = 1 << info - 24
        value = int.from_bytes(self.take(size), "big")
        if value < (24 if size == 1 else 1 << 4 * size):
            raise MalformedMessage("a CBOR length or integer that is not in its shortest form")
        return value

    def scalar(self, major: Major, argument: int) -> Value:
        if major is Major.UNSIGNED:
            return argument
        if major is Major.NEGATIVE:
            return -1 - argument
        data = self.take(argument)
        return data if major is Major.BYTES else _text(data)

    def array(self, count: int | None, depth: int) -> list[Value]:
        values: list[Value] = []
        while self.more(count, len(values)):
            values.append(self.item(depth))
        return values

    def map(self, count: int | None, depth: int) -> dict[int | str, Value]:
        values: dict[int | str, Value] = {}
        while self.more(count, len(values)):
            key = self.item(0)
            # A boolean is an integer to Python, and true would be the same key as 1.
            if isinstance(key, bool) or not isinstance(key, int | str):
                raise MalformedMessage("a map key that is neither an integer nor text")
            if key in values:
                raise MalformedMessage("a duplicate map key")
            values[key] = self.item(depth)
        return values

    def more(self, count: int | None, seen: int) -> bool:
        """Tell whether another element follows; consume the break of an indefinite length."""
        if count is not None:
            return seen < count
        if self.data[self.at : self.at + 1] != bytes([BREAK]):
            return True
        self.at += 1
        return False

    def take(self, size: int) -> bytes:
        data = self.data[self.at : self.at + size]
        if len(data) != size:
            raise MalformedMessage("CBOR ends too early")
        self.at += size
        return data


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("a text string is not UTF-8") from None
