"""Streams at the client: any event stream becomes an answer or an error of ours, however cut."""

import re

from oblivious_client.answers import StreamedAnswer, choices_of, outputs_of, raise_for_error
from oblivious_client.errors import AnswerUnreadable, ClientError
from oblivious_client.events import EndKeeper
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.fuzz_stream import seeds as streams
from tests.fuzz.reading import REFUSED, Attempt, same, ways

MAX_BYTES = 1536
ENDING = re.compile(rb'[\r\n]data: ?(?:\[DONE\]|\{"error":)')
attempt = Attempt(ClientError)

FAULTS = (
    slips("oblivious_client.answers.parse_object", AnswerUnreadable),
    returns("oblivious_client.answers.StreamedAnswer._events_in", lambda events: events[:1]),
    replaced("oblivious_client.events._ENDING_REACH", 3),
)


def seeds() -> list[bytes]:
    """Return what the gateway's harness begins with, and streams that no gateway of ours writes."""
    odd = [
        b'{"choices":[{"index":0,"delta":{"tool_calls":""}}]}',
        b'{"choices":[{"index":"7","delta":{"content":1}}]}',
        b'{"choices":[{"index":1e9,"text":"a"},{"text":"b"}],"error":null}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":3,"function":{"arguments":"x"}},{}]}}]}',
        b'{"choices":{"a":1}}',
        b'{"error":"x"}',
    ]
    failures = [b'{"error":{"type":[],"code":{},"message":1}}', b'{"error":[],"type":"x"}']
    lines = [b"data: " + each + b"\n\ndata: [DONE]\n\n" for each in odd]
    return [*(each[1:] for each in streams()), *lines, *failures, b"\ndata:[DONE]\n\n"]


def run(data: bytes) -> None:
    """Put an answer together in all ways; keep the end of the stream back in all ways."""
    same(repr(attempt(_answer, pieces)) for pieces in ways(data))
    for status in (400, 500):
        assert attempt(raise_for_error, status, data) is REFUSED
    for pieces in ways(data):
        keeper = EndKeeper()
        passed = b"".join(map(keeper.pass_on, pieces))
        assert passed + keeper.release() == data
        assert ENDING.search(b"\n" + passed) is None


def _answer(pieces: list[bytes]) -> dict[str, object]:
    answer = StreamedAnswer()
    for piece in pieces:
        answer.feed(piece)
    body = answer.finish()
    assert len(outputs_of(body)) == len(choices_of(body))
    return body
