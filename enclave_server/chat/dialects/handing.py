"""How a reader hands over: its state as octets, and an event that is too large as it came.

Another process reads such an event with a reader that is given the state, and what becomes of the
state comes back. Nothing that passes is code: all is typed data, as msgspec reads it.
"""

import sys
from typing import TypeVar

import msgspec

from enclave_server.chat.errors import Failure, UpstreamError
from protocol.event_stream import Event

NO_LIMIT = sys.maxsize
"""The size above which a reader yields no event as it came, unless it is told another."""

State = TypeVar("State", bound=msgspec.Struct)

_ENCODER = msgspec.msgpack.Encoder()


def save(state: msgspec.Struct) -> bytes:
    """Return `state` as octets; raises UpstreamError for numbers that nobody counts to."""
    try:
        return _ENCODER.encode(state)
    except OverflowError:
        raise UpstreamError(Failure.BROKEN) from None


def restore(data: bytes, kind: type[State]) -> State:
    """Return the state of that type that was saved."""
    return msgspec.msgpack.decode(data, type=kind)


def pack(event: Event) -> bytes:
    """Return a server-sent event as octets."""
    return b"%b\n%b" % (event.type.encode(), event.data.encode())


def unpack(octets: bytes) -> Event:
    """Return the event that was packed: no type has a line end."""
    kind, _, data = octets.partition(b"\n")
    return Event(data.decode(), kind.decode())
