"""What an upstream makes a reader or a writer keep is counted, also what says nothing."""

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.joining import Joiner
from enclave_server.chat.preparing import SURFACES
from enclave_server.chat.recoder import Expected, Recoder
from enclave_server.chat.surfaces.surface import Identity
from enclave_server.memory import Holding, Memory
from tests.support.amazon_frames import frame

ROOM = 1 << 20
MOST_FED = 3 << 20

Pieces = Iterator[bytes]


def sse(data: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(data).encode()


def unending_line() -> Pieces:
    return itertools.chain([b"data: "], itertools.repeat(b"x" * 16_000))


def details() -> Pieces:
    """Yield thoughts of no characters, none of which goes on with the one before."""
    delta = {"reasoning_details": [{}, {"type": ""}] * 200, "reasoning": ""}
    return itertools.repeat(sse({"choices": [{"index": 0, "delta": delta}]}))


def signed_call() -> Pieces:
    extra = {"google": {"thought_signature": "s" * 16_000}}
    call = {"index": 0, "function": {"name": "f"}, "extra_content": extra}
    return itertools.repeat(sse({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))


def likely_tokens() -> Pieces:
    logprobs = {"content": [{"token": "a", "logprob": -1.0}] * 100}
    choice = {"index": 0, "delta": {"content": "a"}, "logprobs": logprobs}
    return itertools.repeat(sse({"choices": [choice]}))


def candidates() -> Pieces:
    return (sse({"candidates": [{"index": index}]}) for index in itertools.count())


def encrypted_items() -> Pieces:
    for index in range(1000):
        item = {"type": "reasoning", "id": "rs", "encrypted_content": "s" * 16_000}
        yield sse({"type": "response.output_item.done", "output_index": index, "item": item})


def hidden_thoughts() -> Pieces:
    thought = {"redactedContent": base64.b64encode(bytes(12_000)).decode()}
    payload = json.dumps({"delta": {"reasoningContent": thought}}).encode()
    headers = {":message-type": "event", ":event-type": "contentBlockDelta"}
    return itertools.repeat(frame(headers, payload))


def signature() -> Pieces:
    yield sse({"type": "message_start", "message": {}})
    yield sse({"type": "content_block_start", "content_block": {"type": "thinking"}})
    delta = {"type": "signature_delta", "signature": "s" * 16_000}
    yield from itertools.repeat(sse({"type": "content_block_delta", "delta": delta}))


CHAT, RESPONSES = b"/v1/chat/completions", b"/v1/responses"
HOSTILE = [
    *((name, CHAT, unending_line) for name in ("openai-chat", "openai-responses")),
    *((name, CHAT, unending_line) for name in ("anthropic", "gemini")),
    ("openai-chat", CHAT, details),
    ("openai-chat", RESPONSES, signed_call),
    ("openai-chat", RESPONSES, likely_tokens),
    ("gemini", CHAT, candidates),
    ("openai-responses", CHAT, encrypted_items),
    ("bedrock", CHAT, hidden_thoughts),
    ("anthropic", CHAT, signature),
]


def crowded() -> Holding:
    """Return the holding of one of many, for which there is `ROOM`."""
    memory = Memory(ROOM, 1000)
    Holding(memory).hold(1)
    return Holding(memory)


def bounded(pieces: Pieces) -> Pieces:
    fed = 0
    for piece in pieces:
        fed += len(piece)
        if fed > MOST_FED:
            return
        yield piece


@pytest.mark.parametrize(("dialect", "path", "pieces"), HOSTILE)
def test_a_stream_takes_no_more_than_there_is_room_for(
    dialect: str, path: bytes, pieces: Any
) -> None:
    recoder = Recoder(
        find_dialect(dialect).stream(Conversation),
        SURFACES[path].stream(Identity("resp_1", 7, "m", "upstream")),
        Expected(1, usage=True),
        lambda _: {},
        crowded(),
    )
    assert any(recoder.feed(piece) and recoder.failed for piece in bounded(pieces()))


@pytest.mark.parametrize(("dialect", "pieces"), [(each[0], each[2]) for each in HOSTILE])
def test_a_joined_answer_takes_no_more_either(dialect: str, pieces: Any) -> None:
    reader, joiner = find_dialect(dialect).stream(Conversation), Joiner(1, crowded())

    def join() -> None:
        for piece in bounded(pieces()):
            for event in reader.feed(piece):
                joiner.add(event)
            joiner.count(reader.kept)

    with pytest.raises(UpstreamError):
        join()
