"""Control data and field sections of Binary HTTP messages (RFC 9292, Sections 3.3 to 3.6)."""

import enum
import re
from dataclasses import dataclass

from protocol import varint
from protocol.errors import IncompleteMessage, MalformedMessage

Fields = tuple[tuple[bytes, bytes], ...]
"""Names and values, in order; the case of a name means nothing."""

MAX_FIELDS = 256
"""Lines in one field section: more than any HTTP server in use accepts by default."""

MAX_SECTION_SIZE = 64 << 10
"""Bytes in one field section, against a peer that makes the other side keep endless fields."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9113, Section 8.2.1: no NUL, LF or CR anywhere, no space or tab at either end.
_FIELD_VALUE = re.compile(rb"(?![ \t])[^\0\r\n]*(?<![ \t])")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")
_VISIBLE = re.compile(rb"[!-~]*")

# RFC 9292, Section 3.6: "Messages are invalid (Section 4) if they contain fields named
# ':method', ':scheme', ':authority', ':path', or ':status'."
_CONTROL_FIELDS = frozenset((b":method", b":scheme", b":authority", b":path", b":status"))


class Framing(enum.IntEnum):
    """Framing indicators (RFC 9292, Section 3.3)."""

    KNOWN_LENGTH_REQUEST = 0
    KNOWN_LENGTH_RESPONSE = 1
    INDETERMINATE_LENGTH_REQUEST = 2
    INDETERMINATE_LENGTH_RESPONSE = 3


@dataclass(frozen=True, slots=True)
class Informational:
    """An interim response (RFC 9292, Section 3.5.1), status 100 to 199."""

    status: int
    headers: Fields = ()

    def __post_init__(self) -> None:
        check_informational_status(self.status)
        check_headers(self.headers)


def check_request_control(method: bytes, scheme: bytes, authority: bytes, path: bytes) -> None:
    """Raise ValueError unless the four could stand in an HTTP/2 request (RFC 9292, Section 3.4)."""
    if not _TOKEN.fullmatch(method) or not _VISIBLE.fullmatch(authority):
        raise ValueError("request control data")
    if method == b"CONNECT" and not scheme and not path and authority:
        return
    # RFC 9113, Section 8.3.1: the path "MUST NOT be empty for 'http' or 'https' URIs", and
    # there are no others here.
    if not path or not _VISIBLE.fullmatch(path) or not _SCHEME.fullmatch(scheme):
        raise ValueError("request control data")


def check_final_status(status: int) -> None:
    """Raise ValueError unless `status` is that of a final response."""
    if not 200 <= status <= 599:
        raise ValueError("final status out of range")


def check_informational_status(status: int) -> None:
    """Raise ValueError unless `status` is that of an interim response."""
    if not 100 <= status <= 199:
        raise ValueError("informational status out of range")


def check_headers(fields: Fields) -> None:
    """Raise ValueError unless the lines may stand in a header section."""
    regular_seen = False
    for name, value in fields:
        _check_line(name, value)
        if name[0] != 0x3A:
            regular_seen = True
        # RFC 9292, Section 3.6: "A message that contains a pseudo-field after any other field
        # is invalid".
        elif regular_seen or name.lower() in _CONTROL_FIELDS:
            raise ValueError("pseudo-field out of place")


def check_trailers(fields: Fields) -> None:
    """Raise ValueError unless the lines may stand in a trailer section."""
    for name, value in fields:
        _check_line(name, value)
        # RFC 9292, Section 3.6: "pseudo-fields cannot be included in trailers".
        if name[0] == 0x3A:
            raise ValueError("pseudo-field in trailers")


def field_value(fields: Fields, name: bytes) -> bytes | None:
    """Return the first value of the field called `name` (in lower case), in whatever case."""
    for key, value in fields:
        if key.lower() == name:
            return value
    return None


def encode_fields(fields: Fields) -> bytes:
    """Return the lines of a field section, without its length or end; names in lower case."""
    encode = varint.encode
    parts: list[bytes] = []
    for name, value in fields:
        # HTTP/2 demands lower case and Binary HTTP takes any: so lower case suits everybody.
        parts += (encode(len(name)), name.lower(), encode(len(value)), value)
    return b"".join(parts)


def decode_text(data: bytes | bytearray, offset: int) -> tuple[bytes, int]:
    """Return the length-prefixed bytes at `offset` and the offset after them."""
    length, start = varint.decode(data, offset)
    end = start + length
    if end > len(data):
        raise IncompleteMessage("text")
    return bytes(data[start:end]), end


def decode_section(data: bytes | bytearray, offset: int) -> tuple[Fields, int]:
    """Return the lines of a known-length field section and the offset after it."""
    length, start = varint.decode(data, offset)
    if length > MAX_SECTION_SIZE:
        raise MalformedMessage("field section is too long")
    end = start + length
    if end > len(data):
        raise IncompleteMessage("field section")
    try:
        return _decode_lines(bytes(data[start:end])), end
    except IncompleteMessage:
        raise MalformedMessage("a field line overruns its section") from None


def decode_line(data: bytes | bytearray, offset: int) -> tuple[tuple[bytes, bytes] | None, int]:
    """Return the line of an indeterminate-length section, None for its end, and what follows."""
    length, start = varint.decode(data, offset)
    if length == 0:
        return None, start
    check_section_size(1, length)
    name, offset = decode_text(data, offset)
    length, _ = varint.decode(data, offset)
    check_section_size(1, length)
    value, offset = decode_text(data, offset)
    return (name, value), offset


def check_section_size(lines: int, size: int) -> None:
    """Raise MalformedMessage when a section has too many lines or bytes."""
    if lines > MAX_FIELDS or size > MAX_SECTION_SIZE:
        raise MalformedMessage("field section is too long")


def _decode_lines(section: bytes) -> Fields:
    lines = []
    offset = 0
    while offset < len(section):
        name, offset = decode_text(section, offset)
        value, offset = decode_text(section, offset)
        lines.append((name, value))
    check_section_size(len(lines), len(section))
    return tuple(lines)


def _check_line(name: bytes, value: bytes) -> None:
    # RFC 9292, Section 3.6: "byte values that are not permitted in an HTTP field name cause the
    # message to be invalid", and "a recipient MUST treat a message that contains field values
    # that would cause an HTTP/2 message to be malformed [...] as invalid".
    if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
        raise ValueError("field line")
