"""Amazon's binary event streams (`application/vnd.amazon.eventstream`), read as they arrive.

    frame    total(4) headers_length(4) crc(4) headers payload crc(4), numbers in network order
    header   name_length(1) name type(1) value

The first CRC-32 is of the eight octets before it, the second of the whole frame before it.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from protocol.errors import MalformedMessage

MEDIA_TYPE = b"application/vnd.amazon.eventstream"

MAX_FRAME_OCTETS = 4 * 1024 * 1024
"""What a peer can make a reader keep: the events of answers have some kilobytes at the most."""

MAX_HEADERS_OCTETS = 128 * 1024
"""What the format allows."""

_PRELUDE = struct.Struct("!III")
_CRC = struct.Struct("!I")
_MIN_FRAME_OCTETS = _PRELUDE.size + _CRC.size

# Octets of a header's value by its type; those of 6 and 7 say their length in two octets.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_OCTETS, _TEXT = 6, 7


class Frame(NamedTuple):
    """A frame: its headers that are texts, and its payload."""

    headers: dict[str, str]
    payload: bytes


class FrameParser:
    """Turns the octets of an event stream, split anywhere, into frames."""

    __slots__ = ("_rest", "_total")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._total = 0  # of the frame that is coming, once its prelude has been read

    @property
    def kept(self) -> int:
        """The octets that it keeps of what is unfinished."""
        return len(self._rest)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes, and raise MalformedMessage amid them.

        What is unfinished when the stream ends is never yielded.
        """
        self._rest += data
        while self._complete():
            octets = bytes(self._rest[: self._total])
            del self._rest[: self._total]
            self._total = 0
            yield _read(octets)

    def _complete(self) -> bool:
        if not self._total and len(self._rest) >= _PRELUDE.size:
            self._total = _read_prelude(bytes(self._rest[: _PRELUDE.size]))
        return 0 < self._total <= len(self._rest)


def pack(frame: Frame) -> bytes:
    """Return a frame that has been checked as octets."""
    return msgspec.msgpack.encode(frame)


def unpack(octets: bytes) -> Frame:
    """Return the frame that was packed."""
    return msgspec.msgpack.decode(octets, type=Frame)


def _read_prelude(octets: bytes) -> int:
    """Return the size of the frame; its CRC is checked before anybody waits for so much."""
    total, headers, crc = _PRELUDE.unpack(octets)
    if zlib.crc32(octets[:8]) != crc:
        raise MalformedMessage("a frame's prelude has another CRC")
    if not headers <= MAX_HEADERS_OCTETS or not _MIN_FRAME_OCTETS + headers <= total:
        raise MalformedMessage("a frame's sizes contradict each other")
    if total > MAX_FRAME_OCTETS:
        raise MalformedMessage("a frame is too large")
    return int(total)


def _read(octets: bytes) -> Frame:
    end = len(octets) - _CRC.size
    if _CRC.unpack_from(octets, end)[0] != zlib.crc32(octets[:end]):
        raise MalformedMessage("a frame has another CRC")
    _, headers, _ = _PRELUDE.unpack_from(octets)
    begin = _PRELUDE.size + headers
    return Frame(_read_headers(octets[_PRELUDE.size : begin]), octets[begin:end])


def _read_headers(octets: bytes) -> dict[str, str]:
    texts: dict[str, str] = {}
    seen: set[bytes] = set()
    try:
        while octets:
            name, kind, value, octets = _read_header(octets)
            if name in seen:
                raise MalformedMessage("a frame has a header twice")
            seen.add(name)
            if kind == _TEXT:
                texts[name.decode()] = value.decode()
    except (IndexError, KeyError, UnicodeDecodeError):
        raise MalformedMessage("a frame's headers are cut, or of an unknown type") from None
    return texts


def _read_header(octets: bytes) -> tuple[bytes, int, bytes, bytes]:
    """Return the name, type and value of the first header, and the rest."""
    name, octets = _take(octets[1:], octets[0])
    kind, octets = octets[0], octets[1:]
    if kind in (_OCTETS, _TEXT):
        size, octets = _take(octets, 2)
        value, octets = _take(octets, int.from_bytes(size, "big"))
    else:
        value, octets = _take(octets, _SIZES[kind])
    return name, kind, value, octets


def _take(octets: bytes, count: int) -> tuple[bytes, bytes]:
    if len(octets) < count:
        raise IndexError
    return octets[:count], octets[count:]
