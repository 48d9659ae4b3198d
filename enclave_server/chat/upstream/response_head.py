"""Heads of responses (RFC 9112, Sections 4 and 5), read strictly, without I/O.

Of what a lenient reader takes, this one refuses whatever two readers might understand differently:
bare LF, folded lines, white space before a colon, control characters. A response that needs any of
them is answered 502, which RFC 9112, Section 5.2, leaves to a gateway.
"""

import re
from dataclasses import dataclass

from protocol.binary_http import Fields
from protocol.errors import ProtocolError

# Above any head that a provider or a proxy before it is known to send.
MAX_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 256

# RFC 9110, Section 15.2: a client must be able to read any number; no server sends more than two.
MAX_INFORMATIONAL = 8
SWITCHING_PROTOCOLS = 101

TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]++"
VALUE = rb"[\t \x21-\x7e\x80-\xff]*+"

_START = b"HTTP/1."
_END = b"\r\n\r\n"
_STATUS_LINE = rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: %b)?\r\n" % VALUE
_HEAD = re.compile(rb"%b((?:%b:%b\r\n)*+)\r\n" % (_STATUS_LINE, TOKEN, VALUE))
_BARE_LF = re.compile(rb"(?<!\r)\n")


class ResponseError(ProtocolError):
    """A response is malformed, too large, or ends early."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and fields of a final response; the names of `fields` are in lower case."""

    minor_version: int
    status: int
    fields: Fields

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all fields of that name, which is in lower case."""
        return [value for field, value in self.fields if field == name]


class HeadReader:
    """Takes octets until the head of a final response is whole; `rest` is what came after it."""

    __slots__ = ("_informational", "rest")

    def __init__(self) -> None:
        self._informational = 0
        self.rest = b""

    def feed(self, data: bytes) -> Head | None:
        """Return the head once it is whole; raises ResponseError.

        Informational responses before it are passed over.
        """
        searched = max(len(self.rest) - len(_END) + 1, 0)
        self.rest += data
        while (end := self.rest.find(_END, searched)) >= 0:
            head = _parse(self.rest[: end + len(_END)])
            self.rest = self.rest[end + len(_END) :]
            if head.status >= 200:
                return head
            self._pass_over(head)
            searched = 0
        _check_beginning(self.rest, searched)
        return None

    def _pass_over(self, head: Head) -> None:
        self._informational += 1
        # RFC 9110, Section 15.2.2: only a client that asked for another protocol gets a 101.
        if head.status == SWITCHING_PROTOCOLS or self._informational > MAX_INFORMATIONAL:
            raise ResponseError
        # RFC 9110, Section 8.6, and RFC 9112, Section 6.1: a server MUST NOT send either here.
        if head.values(b"content-length") or head.values(b"transfer-encoding"):
            raise ResponseError


def _parse(data: bytes) -> Head:
    match = _HEAD.fullmatch(data)
    if match is None or len(data) > MAX_HEAD_BYTES:
        raise ResponseError
    lines = match[3].split(b"\r\n")
    lines.pop()  # what follows the last line's end
    if len(lines) > MAX_FIELDS:
        raise ResponseError
    return Head(int(match[1]), int(match[2]), tuple(map(_field, lines)))


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _check_beginning(data: bytes, searched: int) -> None:
    """Refuse what no further octets can make a head, so that nobody waits for them."""
    begins = data[: len(_START)] == _START[: len(data)]
    if not begins or len(data) >= MAX_HEAD_BYTES or _BARE_LF.search(data, searched):
        raise ResponseError
