"""Shaped answers: pieces of one size, as many as the series allows, that hold what was said.

The first octets are the size of a piece and the kind of the answer; then each octet is a step: a
tick, or so many octets of content, which follow.
"""

import re

from protocol.binary_http import Fields, ResponseDecoder
from protocol.event_stream import EventParser
from protocol.shaping import AnswerShaper, GeometricSeries, Mark
from tests.fuzz.faults import replaced, returns
from tests.fuzz.reading import Octets
from tests.protocol.test_shaping import EVENTS, JSON

SERIES = GeometricSeries(3, 1.5)
LATE = 200  # ticks before which nothing of ours is over

FAULTS = (
    returns("protocol.shaping._interim", lambda filler: filler + b"\0"),
    returns("protocol.shaping._comment", lambda filler: filler.replace(b":     ", b"data:x")),
    returns("protocol.shaping.GeometricSeries.reach", lambda count: count + 1),
    replaced("protocol.shaping._EVENT_END", re.compile(rb"\n")),
)


def seeds() -> list[bytes]:
    """Return answers: events whole and cut, JSON, nothing, and ticks before, between and after."""
    steps = [
        b"\0\0",
        b"\x0edata: hello\n\n\0",
        b"\7data: t\0\4wo\n\n",
        b"\1\r\1\n\1\n\0",
        b"\0\0\0",
    ]
    cut = b"\x08data: a\n\0\0\x09data: b\n\n\0"
    bodies = [b"".join(steps), steps[2] * 9, b"", b"\0" * 40, b"\x05{} x\n\0" * 3, b"\0" + cut]
    return [
        bytes([size, kind]) + each for size in (0, 1, 63, 255) for kind in (0, 1) for each in bodies
    ]


def run(data: bytes) -> None:
    """Shape an answer and read it again."""
    octets = Octets(data)
    size, fields = 1 + octets.number(), octets.one_of([EVENTS, JSON])
    shaper = AnswerShaper(size, SERIES)
    said, pieces = _steps(octets, shaper, fields)
    shaper.end()
    mark = Mark.CONTINUES
    while mark is not Mark.FINAL:
        piece, mark = shaper.tick()
        pieces.append(piece)
        assert len(pieces) <= 3 * len(data) + LATE
    assert {len(piece) for piece in pieces} == {size}
    assert SERIES.reach(len(pieces)) == len(pieces)
    _check(pieces, fields, said)


def _steps(octets: Octets, shaper: AnswerShaper, fields: Fields) -> tuple[bytes, list[bytes]]:
    pieces: list[bytes] = []
    for _ in range(octets.number() % 4):
        pieces.append(shaper.tick()[0])
    shaper.head(200, fields)
    said = b""
    while octets:
        count = octets.number()
        if count:
            text = octets.take(count)
            shaper.content(text)
            said += text
        else:
            pieces.append(shaper.tick()[0])
    return said, pieces


def _check(pieces: list[bytes], fields: Fields, said: bytes) -> None:
    decoder = ResponseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()
    content = b"".join(event for event in events if isinstance(event, bytes))
    if fields is JSON:
        assert content == said
    else:
        assert EventParser().feed(content) == EventParser().feed(said)
