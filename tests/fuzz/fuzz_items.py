"""Answers of the Responses API and of Gemini: taken whole, or cut anywhere, they are read the same.

What is taken is written for either surface, signed, and verified by the client. The first octet
chooses the dialect, the surface, and whether the answer is whole; the rest is what the upstream
sends.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from itertools import count
from typing import Any
from unittest import mock

from enclave_server.chat import finishing
from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.gemini import answers as gemini
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.finishing import Said
from enclave_server.chat.preparing import SURFACES
from enclave_server.chat.recoder import Expected, Recoder
from enclave_server.chat.signing import Signer
from enclave_server.chat.surfaces.surface import Identity
from enclave_server.memory import Holding, Memory
from oblivious_client.answers import choices_of
from oblivious_client.errors import ServiceError
from oblivious_client.local.passing import PassedChat, PassedItems, Passing
from protocol.signature import Algorithm, verify_choices
from tests.fuzz.faults import fails, returns, slips
from tests.fuzz.reading import Attempt, Refused, same, ways
from tests.support.attestation_samples import signing_keys

Json = dict[str, Any]

REQUEST, NOW = b"{}", 1_800_000_000
KEYS = signing_keys("fuzz")
SIGNER = Signer(lambda: KEYS, lambda: NOW)
IDENTITY = Identity("x_1", NOW, "m", "u")
DIALECTS = ("openai-responses", "gemini")
PATHS: list[tuple[bytes, type[PassedChat | PassedItems]]] = [
    (b"/v1/chat/completions", PassedChat),
    (b"/v1/responses", PassedItems),
]
attempt = Attempt(UpstreamError)

ITEMS: list[Json] = [
    {"type": "reasoning", "id": "r", "summary": [{"text": "b"}], "encrypted_content": "QQ=="},
    {"type": "message", "phase": "p", "content": [{"type": "output_text", "text": "a"}]},
    {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
]
ENDS: list[Json] = [
    {"status": "completed", "output": ITEMS, "usage": {"input_tokens": 3, "output_tokens": 4}},
    {"status": "incomplete", "output": [], "incomplete_details": {"reason": "content_filter"}},
    {"status": "failed", "error": {"code": "server_error"}},
]
DELTAS: list[Json] = [
    {"type": "response.output_text.delta", "output_index": 0, "delta": "a"},
    {"type": "response.refusal.delta", "output_index": 1, "delta": "no"},
    {"type": "response.reasoning_summary_text.delta", "output_index": 2, "delta": "b"},
    {"type": "response.output_item.added", "output_index": 3, "item": ITEMS[3]},
    {"type": "response.output_item.done", "output_index": 2, "item": ITEMS[0]},
    {"type": "error", "code": "429"},
]
PARTS: list[Json] = [
    {"text": "b", "thought": True},
    {"text": "a", "thoughtSignature": "QQ=="},
    {"functionCall": {"name": "f", "args": {"a": 1.50}}, "thoughtSignature": "QQ=="},
    {"functionCall": {"name": "g", "willContinue": True}},
    {"functionCall": {"partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "c"}]}},
]
SAID: list[Json] = [
    {"candidates": [{"content": {"parts": PARTS}, "finishReason": "STOP"}]},
    {"candidates": [{"content": {"parts": PARTS[:2]}}], "usageMetadata": {"promptTokenCount": 3}},
    {"candidates": [{"finishReason": "SAFETY", "index": 0}]},
    {"promptFeedback": {"blockReason": "SAFETY"}},
    {"error": {"code": 503, "status": "UNAVAILABLE"}},
]

FAULTS = (
    slips("enclave_server.chat.dialects.openai_responses.streams.finish_reason", UpstreamError),
    fails("enclave_server.chat.dialects.gemini.partial_calls._steps"),
    fails("enclave_server.chat.dialects.gemini.signatures._is_signature"),
    returns(
        "enclave_server.chat.surfaces.responses_writing.text_part",
        lambda part: {**part, "text": part["text"] + "x"},
    ),
    fails("enclave_server.chat.surfaces.responses_stream.seal"),
)


def seeds() -> list[bytes]:
    """Return answers of both dialects, whole and streamed, with states, failures and no end."""
    ends: list[Json] = [{"type": f"response.{end['status']}", "response": end} for end in ENDS]
    streams: list[list[Json]] = [*([*DELTAS[:5], end] for end in ends), DELTAS, [ends[0]]]
    said = [_events(events) for events in streams]
    whole = [json.dumps(end).encode() for end in ENDS]
    told = [_events(SAID[1:3]), *(_events([each]) for each in SAID)]
    lists = [*(json.dumps(each).encode() for each in SAID), json.dumps(SAID[1:3]).encode()]
    return [
        *(bytes([0 + surface]) + each for surface in (0, 2) for each in said),
        *(bytes([4 + surface]) + each for surface in (0, 2) for each in whole),
        *(bytes([1 + surface]) + each for surface in (0, 2) for each in told),
        *(bytes([5 + surface]) + each for surface in (0, 2) for each in lists),
    ]


def _events(events: Sequence[Json]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def run(data: bytes) -> None:
    """Read an answer in all ways, write and sign it, and do what the client does."""
    number, upstream = (data[0], data[1:]) if data else (0, b"")
    if number & 4:
        _whole(number, upstream)
        return
    text, is_complete = same([_recoded(number, pieces) for pieces in ways(upstream)])
    client: Passing = PATHS[number >> 1 & 1][1]()
    try:
        client.take(text)
    except ServiceError:
        assert not is_complete
        return
    if is_complete:
        body = client.finish()
        verify_choices(KEYS.public_keys, REQUEST, choices_of(body), body)


def _whole(number: int, upstream: bytes) -> None:
    answer = attempt(find_dialect(DIALECTS[number & 1]).read, Conversation, upstream)
    if isinstance(answer, Refused) or len(answer.choices) != 1 or answer.choices[0].index:
        return
    path, _ = PATHS[number >> 1 & 1]
    said = Said(path, "conversation", IDENTITY, 2, Algorithm.ED25519, sha256(REQUEST).digest())
    body = json.loads(finishing.write(KEYS, answer, said))
    verify_choices(KEYS.public_keys, REQUEST, choices_of(body), body)


def _recoded(number: int, pieces: list[bytes]) -> tuple[bytes, bool]:
    """Return what the client gets, and whether it is a complete answer."""
    # Calls without an identifier get one at random.
    drawn = map("call_{}".format, count())
    with mock.patch.object(gemini, "new_identifier", drawn.__next__):
        recoder = Recoder(
            find_dialect(DIALECTS[number & 1]).stream(Conversation),
            SURFACES[PATHS[number >> 1 & 1][0]].stream(IDENTITY),
            Expected(1, usage=True),
            lambda outputs: SIGNER.sign(REQUEST, outputs, "m", Algorithm.ED25519),
            Holding(Memory()),
        )
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
