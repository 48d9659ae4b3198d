"""Messages between enclaves: frames alike however they are cut, messages as they were written."""

from protocol.cluster_frames import FrameReader, encode_frame
from protocol.cluster_join import read_hello
from protocol.cluster_state import decode_message, encode_message
from protocol.errors import MalformedMessage
from protocol.slots import SlotTable
from tests.fuzz.faults import replaced, slips
from tests.fuzz.reading import REFUSED, Refused, attempt, same, ways
from tests.protocol.test_cluster_state import MESSAGES
from tests.protocol.test_cluster_state import REFUSED as ILL_FORMED

FAULTS = (
    slips("protocol.cluster_state._number", MalformedMessage),
    slips("protocol.cluster_state._identifiers", MalformedMessage),
    slips("protocol.slots.SlotTable.decode", MalformedMessage),
    replaced("protocol.cluster_frames.FrameReader.feed", lambda self, data: [data][: len(data)]),
)


def seeds() -> list[bytes]:
    """Return each kind of message, what is none, and frames of several."""
    messages = [encode_message(message) for message in MESSAGES]
    return [*messages, *ILL_FORMED, b"".join(map(encode_frame, messages)), b"\xa2avah"]


def run(data: bytes) -> None:
    """Read `data` as a message, as a hello, as a table and as frames."""
    message = attempt(decode_message, data)
    if not isinstance(message, Refused):
        assert encode_message(message) == data
        assert attempt(decode_message, data[:-1]) is REFUSED
        assert attempt(decode_message, data + b"\0") is REFUSED
    table = attempt(SlotTable.decode, data)
    if not isinstance(table, Refused):
        assert table.encode() == data
        assert {run.owner for run in table.runs} == table.owners
    attempt(read_hello, data)
    frames = same(_frames(pieces) for pieces in ways(data))
    if not isinstance(frames, Refused):
        written = b"".join(map(encode_frame, frames))
        assert data.startswith(written)


def _frames(pieces: list[bytes]) -> list[bytes] | Refused:
    reader = FrameReader()
    found: list[bytes] = []
    for piece in pieces:
        frames = attempt(reader.feed, piece)
        if isinstance(frames, Refused):
            return REFUSED
        found += frames
    return found
