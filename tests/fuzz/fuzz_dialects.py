"""Every dialect: whatever an upstream says is an answer or an error of ours, however it is cut.

The first octet chooses the dialect, the second the kind of the question and what the rest is: a
whole answer, a stream, or the body of an error.
"""

import json
from collections.abc import Callable
from itertools import count
from unittest import mock

from enclave_server.chat.conversation import Continuation, Conversation, Event, Kind
from enclave_server.chat.dialects.dialect import Dialect
from enclave_server.chat.dialects.table import DIALECTS
from enclave_server.chat.errors import UpstreamError
from tests.fuzz import fuzz_answer, fuzz_faults
from tests.fuzz.faults import fails, slips
from tests.fuzz.reading import Attempt, Octets, same, ways
from tests.support.amazon_frames import frame
from tests.support.vector_files import load

MAX_BYTES = 3072
ALL = sorted(DIALECTS)
KINDS: tuple[Kind, ...] = (Conversation, Continuation)
attempt = Attempt(UpstreamError)

FAULTS = (
    slips("enclave_server.chat.dialects.openai_chat.answers._tolerate", UpstreamError),
    fails("protocol.event_stream.EventParser._dispatch"),
    fails("enclave_server.chat.dialects.openai_chat.faults.failure_of"),
)


def seeds() -> list[bytes]:
    """Return recorded streams and known answers and errors, for every dialect."""
    samples = [each["sse_text"].encode() for each in load("llm-sse-streams.json")["samples"]]
    streams = [b"".join(sample.splitlines(keepends=True)[:9]) for sample in samples]
    whole = [seed[1:] for seed in fuzz_answer.seeds()[:7]]
    errors = [seed[5:] for seed in fuzz_faults.seeds()[:5]]
    events = [
        (b"messageStart", b'{"role":"assistant"}'),
        (b"contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"a"}}'),
        (b"contentBlockDelta", b'{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{}"}}}'),
        (b"messageStop", b'{"stopReason":"end_turn"}'),
        (b"chunk", b'{"bytes":"eyJ0eXBlIjoicGluZyJ9"}'),
    ]
    framed = b"".join(bytes([len(each)]) + each for event in events for each in event)
    said = [(8, framed), *((0, each) for each in whole), *((2, each) for each in streams)]
    said += [(4, each) for each in errors]
    return [bytes([number, kind]) + each for number in range(len(ALL)) for kind, each in said]


def run(data: bytes) -> None:
    """Read what an upstream says."""
    octets = Octets(data)
    dialect, choice = DIALECTS[octets.one_of(ALL)], octets.number()
    kind, said = KINDS[choice & 1], octets.rest()
    if choice & 4:
        error = dialect.fault(400 + choice, ((b"retry-after", b"7"),), said)
        assert isinstance(error, UpstreamError)
        assert json.loads(error.response().content)["error"]["message"]
    elif choice & 8:
        same(attempt(_streamed, dialect, kind, pieces) for pieces in ways(_frames(Octets(said))))
    elif choice & 2:
        same(attempt(_streamed, dialect, kind, pieces) for pieces in ways(said))
    else:
        attempt(dialect.read, kind, said)


def _frames(octets: Octets) -> bytes:
    """Return what says its types and payloads, behind their sizes, as Amazon frames it."""
    frames = b""
    while octets:
        kind, payload = octets.piece().decode(errors="replace"), octets.piece()
        frames += frame({":event-type": kind, ":message-type": "event"}, payload)
    return frames


def _streamed(dialect: Dialect, kind: Kind, pieces: list[bytes]) -> list[Event]:
    """Return the events; calls without an identifier get one at random, here in a row."""
    reader = dialect.stream(kind)
    events: list[Event] = []
    with mock.patch("secrets.token_hex", _numbered()):
        for piece in pieces:
            for event in reader.feed(piece):
                events.append(event)
                if event.ends:
                    return events
    return events


def _numbered() -> Callable[[int], str]:
    numbers = count()
    return lambda size: str(next(numbers))
