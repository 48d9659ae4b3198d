"""Server-sent events: any stream, however cut, is read as the standard says.

The oracle below is that standard once more, over the whole stream at once.
"""

import re

from protocol import event_stream
from protocol.event_stream import Event, EventParser, EventTooLarge
from tests.fuzz.faults import fails, replaced, returns
from tests.fuzz.reading import REFUSED, Attempt, same, ways
from tests.support.vector_files import load

LIMIT = 24
attempt = Attempt(EventTooLarge)

FAULTS = (
    fails("protocol.event_stream.EventParser._dispatch"),
    replaced("protocol.event_stream._BYTE_ORDER_MARK", b"\xef"),
    returns("protocol.event_stream.EventParser._lines", lambda lines: lines[-1:]),
    returns("protocol.event_stream.encode_event", lambda data: data[:-1]),
)


def seeds() -> list[bytes]:
    """Return the standard's cases, recorded streams, and lines around the small limit."""
    vectors = load("llm-sse-streams.json")
    cases = [bytes.fromhex(case["hex"]) for case in vectors["framing_cases"]]
    recorded = [sample["sse_text"].encode() for sample in vectors["samples"]]
    lengths = [b"\xef\xbb\xbfdata:" + b"x" * size + b"\n\n" for size in range(LIMIT - 7, LIMIT)]
    return [*cases, *recorded, *lengths, b"id: a\0b\nid: c\nevent\ndata\ndata: \xff\r\r\n"]


def run(data: bytes) -> None:
    """Read in all ways, without a limit that matters and with one that does."""
    found = same(_read(pieces, event_stream.MAX_EVENT_OCTETS) for pieces in ways(data))
    assert found == _by_the_standard(data)
    limited = same(attempt(_read, pieces, LIMIT) for pieces in ways(data))
    assert limited is REFUSED or limited == found
    text = data.decode(errors="replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert EventParser().feed(event_stream.encode_event(text.encode())) == [Event(lines)]


def _read(pieces: list[bytes], limit: int) -> list[Event]:
    parser = EventParser(limit)
    return [event for piece in pieces for event in parser.feed(piece)]


def _by_the_standard(data: bytes) -> list[Event]:
    events, kind, identifier = [], "", ""
    said: list[str] = []
    *lines, _ = re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))
    for line in lines:
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode(errors="replace")
        if name == b"data":
            said.append(text)
        elif name == b"event":
            kind = text
        elif name == b"id" and "\0" not in text:
            identifier = text
        elif not line:
            events += [Event("\n".join(said), kind or "message", identifier)] if said else []
            said, kind = [], ""
    return events
