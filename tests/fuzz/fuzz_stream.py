"""Streamed answers: however an upstream's octets are cut, the client reads and verifies the same.

The first octet chooses the kind, the number of choices and the count of tokens; the rest is what
the upstream sends.
"""

from itertools import count
from unittest import mock

from enclave_server.chat.conversation import Continuation, Conversation, Kind
from enclave_server.chat.dialects.openai_chat import calls
from enclave_server.chat.dialects.openai_chat.answers import ChunkReader
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.recoder import Expected, Recoder
from enclave_server.chat.signing import Signer
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.completions import Completions
from enclave_server.chat.surfaces.surface import Identity, Surface
from enclave_server.memory import Holding, Memory
from oblivious_client.answers import StreamedAnswer, choices_of
from oblivious_client.errors import ServiceError
from protocol.signature import Algorithm, verify_choices
from tests.fuzz.faults import fails, replaced, returns, slips
from tests.fuzz.reading import same, ways
from tests.support.attestation_samples import signing_keys
from tests.support.vector_files import load

MAX_BYTES = 1536
REQUEST, NOW = b"{}", 1_800_000_000
KEYS = signing_keys("fuzz")
SIGNER = Signer(lambda: KEYS, lambda: NOW)
KINDS: list[tuple[Kind, Surface]] = [
    (Conversation, ChatCompletions()),
    (Continuation, Completions()),
]

FAULTS = (
    slips("enclave_server.chat.transcript.Transcript.take", UpstreamError),
    returns(
        "enclave_server.chat.recoder.Recoder.finish",
        lambda text: text.replace(b'":', b'" :', 1)[1:],
    ),
    replaced("enclave_server.chat.transcript._append", lambda words, text: len(text)),
    fails("protocol.event_stream.EventParser._dispatch"),
)


def seeds() -> list[bytes]:
    """Return how recorded streams begin, and small ones with calls, refusals, errors and no end."""
    samples = [each["sse_text"].encode() for each in load("llm-sse-streams.json")["samples"]]
    recorded = [b"".join(sample.splitlines(keepends=True)[:5]) for sample in samples]
    call = (
        b'{"index":0,"delta":{"tool_calls":[{"index":%d,"id":"c","function":{"name":"f","arguments":"{"}},'
        b'{"index":%d,"function":{"arguments":"}"}}]}}'
    )
    chunks = [
        b'{"index":0,"delta":{"role":"assistant","content":"a"}}',
        b'{"index":1,"delta":{"refusal":"no"},"finish_reason":"stop"}',
        call % (0, 0),
        call % (1, 5),
        b'{"index":0,"delta":{},"finish_reason":"stop","logprobs":{"content":[]}}',
        b'{"index":0,"text":"b"}',
    ]
    events = b"".join(b'data: {"choices":[' + chunk + b"]}\n\n" for chunk in chunks)
    done = events + b'data: {"choices":[],"usage":{"prompt_tokens":3}}\n\ndata: [DONE]\n\n'
    failed = events + b'data: {"error":{"message":"x","code":429}}\n\n'
    tidy = (
        b'data: {"choices":[{"index":0,"delta":{"content":"a","reasoning_content":"b"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"reasoning":"c","tool_calls":[{"index":1,'
        b'"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    small = [
        tidy,
        events,
        done,
        failed,
        done.replace(b"\n", b"\r\n"),
        b": x\n\n",
        b"data: [DONE]\n\n",
    ]
    return [bytes([number]) + each for number in (0, 3, 6) for each in (*small, *recorded)]


def run(data: bytes) -> None:
    """Recode a stream in all ways; a complete one is verified by the client."""
    number, upstream = (data[0], data[1:]) if data else (0, b"")
    results = same([_recoded(number, pieces) for pieces in ways(upstream)])
    text, is_complete = results
    client = StreamedAnswer()
    try:
        client.feed(text)
    except ServiceError:
        assert not is_complete
        return
    if is_complete:
        body = client.finish()
        signed = verify_choices(KEYS.public_keys, REQUEST, choices_of(body), body)
        assert signed.timestamp == NOW
        assert len(body["choices"]) <= 3


def _recoded(number: int, pieces: list[bytes]) -> tuple[bytes, bool]:
    """Return what the client gets, and whether it is a complete answer."""
    kind, surface = KINDS[number & 1]
    expected = Expected(1 + (number >> 2) % 3, bool(number & 2))
    identity = Identity("x-1", NOW, "m")
    recoder = Recoder(
        ChunkReader(kind),
        surface.stream(identity),
        expected,
        lambda outputs: SIGNER.sign(REQUEST, outputs, "m", Algorithm.ED25519),
        Holding(Memory()),
    )
    # Calls without an identifier get one at random.
    identifiers = map("call_{}".format, count())
    with mock.patch.object(calls, "new_identifier", identifiers.__next__):
        return _said(recoder, pieces)


def _said(recoder: Recoder, pieces: list[bytes]) -> tuple[bytes, bool]:
    text = b""
    for piece in pieces:
        if not recoder.is_ending:
            text += recoder.feed(piece)
    if recoder.failed:
        return text, False
    try:
        return text + recoder.finish(), True
    except UpstreamError as error:
        return text + recoder.fail(error), False
