"""Work: no input costs a parser more than so many lines of Python an octet, however long it is.

The first octet chooses the parser, the next two the part that comes very often, and the rest is the
input.
"""

from collections.abc import Callable

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.openai_chat.answers import ChunkReader
from enclave_server.chat.errors import ChatError
from enclave_server.chat.preparing import SURFACES
from enclave_server.chat.upstream.response_body import Chunked
from enclave_server.chat.upstream.response_head import HeadReader
from enclave_server.http.limits import Limits
from enclave_server.http.request_reader import RequestReader
from oblivious_client.answers import StreamedAnswer
from oblivious_client.errors import ClientError
from protocol import binary_http, cbor, event_stream, key_config, strict_json
from protocol.binary_http import ResponseDecoder
from protocol.errors import ProtocolError
from tests.fuzz import fuzz_binary_http_request, fuzz_binary_http_response, fuzz_cbor, fuzz_stream
from tests.fuzz.faults import Fault
from tests.fuzz.growth import bound
from tests.fuzz.reading import Octets

LONG = 8192
# The most costly parser takes a quarter of it; what grows with the square takes a hundred times as
# much at this length.
LINES_PER_OCTET, LINES = 64, 3000


def _outer_request(data: bytes) -> None:
    reader = RequestReader(Limits())
    reader.feed(data)
    while reader.next_event() is not None:
        pass


PARSERS: list[Callable[[bytes], object]] = [
    binary_http.decode_request,
    lambda data: ResponseDecoder().feed(data),
    cbor.decode,
    key_config.decode_key_configs,
    strict_json.decode_object,
    lambda data: event_stream.EventParser().feed(data),
    _outer_request,
    lambda data: HeadReader().feed(data),
    lambda data: Chunked().feed(data),
    SURFACES[b"/v1/chat/completions"].read,
    SURFACES[b"/v1/completions"].read,
    lambda data: list(ChunkReader(Conversation).feed(data)),
    lambda data: StreamedAnswer().feed(data),
]


def _twice(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Return a parser that looks at each octet as often as there are octets."""
    return lambda data: [parse(data) for _ in range(len(data) // 8)]


FAULTS = (Fault("tests.fuzz.fuzz_growth.PARSERS", lambda parsers: list(map(_twice, parsers))),)


def seeds() -> list[bytes]:
    """Return an input for each parser, and a part of each."""
    inputs = [
        fuzz_binary_http_request.seeds()[0],
        fuzz_binary_http_response.seeds()[0],
        *fuzz_cbor.seeds()[20:24],
        b'{"a":[1,{"b":"c"}],"d":"e"}',
        b"data: a\n\ndata: b\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        b"1\r\na\r\n0\r\nA: b\r\n\r\n",
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"stop":["a","b"]}',
        b'{"model":"m","prompt":["a","b"]}',
        *(each[1:] for each in fuzz_stream.seeds()[:3]),
    ]
    parts = [(0, 255), (1, 3), (4, 9), (12, 6), (20, 12)]
    return [
        bytes([parser, *part]) + each
        for parser in range(len(PARSERS))
        for each in inputs
        for part in parts[:: 1 + (parser + len(each)) % 3]
    ]


def run(data: bytes) -> None:
    """Make an input long by repeating a part of it, and count what reading it takes."""
    octets = Octets(data)
    parse, start, size = octets.one_of(PARSERS), octets.number(), octets.number()
    rest = octets.rest()
    before, part, after = rest[:start], rest[start : start + size], rest[start + size :]
    text = before + part * (LONG // max(1, len(part))) + after
    bound(lambda: _done(parse, text), LINES + LINES_PER_OCTET * len(text))


def _done(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except (ProtocolError, ChatError, ClientError):
        return
