"""What Anthropic's API answers, whole and in events, for tests to send."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from enclave_server.chat.conversation import Event
from enclave_server.chat.dialects.dialect import StreamReader

Json = dict[str, Any]

TOKENS: Json = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 100,
    "output_tokens": 1,
    "service_tier": "standard",
    "inference_geo": "not_available",
}

THOUGHT: Json = {"type": "thinking", "thinking": "It is wet.", "signature": "c2ln"}
HIDDEN: Json = {"type": "redacted_thinking", "data": "aGlk"}
TEXT: Json = {"type": "text", "text": "Rain, says Ann."}
CALL: Json = {
    "type": "tool_use",
    "id": "toolu_1",
    "name": "rain",
    "input": {"place": "Rome", "hours": [1.5, 2]},
    "caller": {"type": "direct"},
}
OTHER_CALL: Json = {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}

CONTENTS: dict[str, tuple[str, list[Json]]] = {
    "text": ("end_turn", [TEXT]),
    "a stop": ("stop_sequence", [TEXT]),
    "a limit": ("max_tokens", [TEXT]),
    "the end of the context": ("model_context_window_exceeded", [TEXT]),
    "thought and text": ("end_turn", [THOUGHT, TEXT]),
    "hidden thought": ("end_turn", [HIDDEN, TEXT]),
    "thoughts between": ("end_turn", [HIDDEN, TEXT, THOUGHT, TEXT]),
    "calls": ("tool_use", [TEXT, CALL, OTHER_CALL]),
    "thought and calls": ("tool_use", [THOUGHT, CALL, OTHER_CALL]),
    "a refusal": ("refusal", []),
    "a refusal after text": ("refusal", [TEXT]),
    "an unknown block": (
        "end_turn",
        [{"type": "new_thing", "content": [{"data": None}], "name": None}, TEXT],
    ),
}


def message(content: list[Json], reason: str | None, **changes: Any) -> Json:
    """Return a whole answer."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": TOKENS | {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 7}},
    } | changes


def begin() -> Json:
    """Return the event with which an answer begins."""
    return {"type": "message_start", "message": message([], None, usage=TOKENS)}


def block_events(index: int, block: Json) -> Iterator[Json]:
    """Yield the events of a block, in pieces."""
    empty = {
        "text": block | {"text": ""},
        "thinking": block | {"thinking": "", "signature": ""},
        "tool_use": block | {"input": {}},
    }.get(block["type"], block)
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    for delta in _deltas(block):
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _deltas(block: Json) -> Iterator[Json]:
    match block["type"]:
        case "text":
            for piece in _pieces(block["text"]):
                yield {"type": "text_delta", "text": piece}
            yield {"type": "citations_delta", "citation": {}}
        case "thinking":
            for piece in _pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "tool_use":
            written = json.dumps(block["input"], separators=(",", ":")) if block["input"] else ""
            for piece in ["", *_pieces(written)]:
                yield {"type": "input_json_delta", "partial_json": piece}


def _pieces(text: str) -> list[str]:
    return [text[start : start + 4] for start in range(0, len(text), 4)]


def end(reason: str | None) -> list[Json]:
    """Return the events with which an answer ends."""
    usage = {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 7}}
    delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": usage},
        {"type": "message_stop"},
    ]


def answered(content: Iterable[Json], reason: str | None) -> list[Json]:
    """Return all events of an answer."""
    blocks = [event for index, block in enumerate(content) for event in block_events(index, block)]
    return [begin(), {"type": "ping"}, *blocks, *end(reason)]


def sse(events: Iterable[Json]) -> bytes:
    """Return events as a server sends them."""
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}  \n\n".encode() for event in events
    )


def read(reader: StreamReader, data: bytes, step: int = 1 << 20) -> list[Event]:
    """Return the events of a stream that comes in pieces of `step` octets."""
    pieces = (data[start : start + step] for start in range(0, len(data), step))
    return [event for piece in pieces for event in reader.feed(piece)]
