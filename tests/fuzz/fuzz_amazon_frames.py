"""Amazon's event streams: any frames, however cut, are read alike, or are an error of ours.

An even first octet: the rest are frames. An odd one: what follows becomes frames with the checksums
that they should have, each of headers and a payload behind their sizes.
"""

from enclave_server.chat.dialects.amazon.frames import Frame, FrameParser
from protocol.errors import MalformedMessage
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import Octets, attempt, same, ways
from tests.support.amazon_frames import frame, frame_of

FAULTS = (
    slips("enclave_server.chat.dialects.amazon.frames._read", MalformedMessage),
    returns("enclave_server.chat.dialects.amazon.frames._read", lambda found: found.payload),
    replaced("enclave_server.chat.dialects.amazon.frames._CRC", None),
)


def seeds() -> list[bytes]:
    """Return frames, whole, cut and altered, and headers of every type."""
    good = frame({":event-type": "a", ":message-type": "event"}, b'{"a":1}')
    twice, sized = b"\1a\7\0\1b" * 2, b"\1a\6\0\2xy\1c\x08" + bytes(8)
    headers = [b"\1a\7\0\1b", b"\1a\0\1b\1", sized, b"\1a\x0b", twice]
    made = [bytes([1, len(each)]) + each + b"\3abc" for each in headers]
    altered = good[:9] + b"x" + good[10:]
    return [*(b"\0" + each for each in (good * 2, good[:-1], altered)), *made, b"\1\0\0"]


def run(data: bytes) -> None:
    """Read frames in all ways."""
    octets = Octets(data)
    if octets.number() % 2 == 0:
        same(attempt(_read, pieces) for pieces in ways(octets.rest()))
        return
    stream, payloads = b"", []
    while octets:
        headers, payload = octets.piece(), octets.piece()
        stream += frame_of(headers, payload)
        payloads.append(payload)
    found = same(attempt(_read, pieces) for pieces in ways(stream))
    assert not isinstance(found, list) or [each.payload for each in found] == payloads


def _read(pieces: list[bytes]) -> list[Frame]:
    parser = FrameParser()
    return [found for piece in pieces for found in parser.feed(piece)]
