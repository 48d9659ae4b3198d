"""RESP, the protocol of Redis, as far as three commands need it.

Who answers is not trusted. Each command has its one or two replies, and each reply its one
encoding: octets are compared, and none is read as a number. The first that fits none of them is
refused, however well it would do elsewhere.
"""

import enum
from typing import NamedTuple

OWNER_BYTES = 16
HELD, SPENT = b"h", b"s"
"""What the value of a key begins with; who holds or spent it follows."""

_END = b"\r\n"
_VALUE_BYTES = 1 + OWNER_BYTES
_NIL = b"$-1\r\n"
_VALUE = b"$%d\r\n" % _VALUE_BYTES


class MalformedReply(Exception):
    """Not what the command is replied."""


class Kind(enum.Enum):
    """The replies to a command: how they begin."""

    PREVIOUS = (_NIL, _VALUE)  # SET … GET: the value before, of which there may be none
    DONE = (b"+OK\r\n",)  # SET
    COUNT = (b":0\r\n", b":1\r\n")  # EVAL of a script that deletes at most one key


MAX_REPLY_BYTES = len(_VALUE) + _VALUE_BYTES + len(_END)
"""Of the longest reply to any command."""


class Reply(NamedTuple):
    """A reply: the value before, if one was asked for and there is one, and its size in octets."""

    value: bytes | None
    size: int


def encode(*arguments: bytes) -> bytes:
    """Return a command."""
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


def take_reply(kind: Kind, data: bytes | bytearray) -> Reply | None:
    """Return the reply that `data` begins with, None if it is not complete; else MalformedReply."""
    for head in kind.value:
        if data.startswith(head):
            return _value(data) if head is _VALUE else Reply(None, len(head))
    if not any(head.startswith(data) for head in kind.value):
        raise MalformedReply
    return None


def _value(data: bytes | bytearray) -> Reply | None:
    value = bytes(data[len(_VALUE) : len(_VALUE) + _VALUE_BYTES])
    end = data[len(_VALUE) + _VALUE_BYTES : MAX_REPLY_BYTES]
    if value[:1] not in (b"", HELD, SPENT) or not _END.startswith(end):
        raise MalformedReply
    return Reply(value, MAX_REPLY_BYTES) if len(end) == len(_END) else None
