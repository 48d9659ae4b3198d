"""Binary HTTP responses: whole, octet by octet and cut anywhere, they are the same response."""

from itertools import chain

from protocol import binary_http
from protocol.binary_http import Response, ResponseDecoder, ResponseEncoder
from protocol.errors import MalformedMessage
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Refused, attempt, same, ways
from tests.support.vector_files import load

FAULTS = (
    slips("protocol.binary_http_stream.ResponseDecoder.feed", MalformedMessage),
    returns("protocol.binary_http_stream.ResponseDecoder.feed", lambda events: events[:1]),
    returns("protocol.binary_http.encode_response", lambda data: data + b"\x01"),
)


def seeds() -> list[bytes]:
    """Return the published responses."""
    cases = [bytes.fromhex(case["hex"]) for case in load("binary-http.json")["cases"]]
    return [case for case in cases if case[:1] in (b"\1", b"\3")]


def run(data: bytes) -> None:
    """Read in all ways, write in both forms, and read again."""
    found = same(attempt(_read, pieces) for pieces in ways(data))
    if isinstance(found, Refused):
        assert isinstance(attempt(binary_http.decode_response, data), Refused)
        return
    assert binary_http.decode_response(data) == found
    known = binary_http.decode_response(binary_http.encode_response(found, pad_to=len(data)))
    assert binary_http.decode_response(_indeterminate(known)) == known
    assert (known.status, known.content) == (found.status, found.content)
    assert len(known.informational) == len(found.informational)


def _read(pieces: list[bytes]) -> Response:
    decoder = ResponseDecoder()
    events = [*chain.from_iterable(map(decoder.feed, pieces)), *decoder.finish()]
    heads = [event for event in events if isinstance(event, binary_http.ResponseHead)]
    assert len(heads) == 1
    trailers = [event.fields for event in events if isinstance(event, binary_http.Trailers)]
    assert len(trailers) <= 1
    return Response(
        heads[0].status,
        heads[0].headers,
        b"".join(event for event in events if isinstance(event, bytes)),
        trailers[0] if trailers else (),
        tuple(event for event in events if isinstance(event, binary_http.Informational)),
    )


def _indeterminate(response: Response) -> bytes:
    encoder = ResponseEncoder()
    interim = [encoder.informational(each.status, each.headers) for each in response.informational]
    head = encoder.start(response.status, response.headers)
    content = [
        encoder.content(response.content[at : at + 7]) for at in range(0, len(response.content), 7)
    ]
    return b"".join([*interim, head, *content, encoder.finish(response.trailers)])
