"""What Bedrock's Converse answers, whole and in frames, for tests to send."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.support.amazon_frames import event

Json = dict[str, Any]

TOKENS: Json = {
    "inputTokens": 3,
    "outputTokens": 40,
    "totalTokens": 163,
    "cacheReadInputTokens": 100,
    "cacheWriteInputTokens": 20,
    "serverToolUsage": {},
}

THOUGHT: Json = {"reasoningContent": {"reasoningText": {"text": "It is wet.", "signature": "c2ln"}}}
UNSIGNED: Json = {"reasoningContent": {"reasoningText": {"text": "It is wet."}}}
HIDDEN: Json = {"reasoningContent": {"redactedContent": "aGlkZGVu"}}
TEXT: Json = {"text": "Rain, says Ann."}
CALL: Json = {
    "toolUse": {
        "toolUseId": "tooluse_1",
        "name": "rain",
        "input": {"place": "Rome", "hours": [1.5, 2]},
    }
}
OTHER_CALL: Json = {"toolUse": {"toolUseId": "tooluse_2", "name": "now", "input": {}}}

CONTENTS: dict[str, tuple[str, list[Json]]] = {
    "text": ("end_turn", [TEXT]),
    "a stop": ("stop_sequence", [TEXT]),
    "a limit": ("max_tokens", [TEXT]),
    "the end of the context": ("model_context_window_exceeded", [TEXT]),
    "a guardrail": ("guardrail_intervened", [TEXT]),
    "a filter": ("content_filtered", []),
    "thought and text": ("end_turn", [THOUGHT, TEXT]),
    "unsigned thought": ("end_turn", [UNSIGNED, TEXT]),
    "hidden thought": ("end_turn", [HIDDEN, TEXT]),
    "calls": ("tool_use", [TEXT, CALL, OTHER_CALL]),
    "thought and calls": ("tool_use", [THOUGHT, CALL, OTHER_CALL]),
    "an unknown block": ("end_turn", [{"newThing": {}}, TEXT]),
}


def whole(content: list[Json], reason: str, **changes: Any) -> bytes:
    """Return a whole answer."""
    answer = {
        "metrics": {"latencyMs": 1},
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": reason,
        "usage": TOKENS,
    }
    return json.dumps(answer | changes).encode()


def block_frames(index: int, block: Json) -> Iterator[bytes]:
    """Yield the frames of a block, in pieces; only calls have one with which they begin."""
    at = {"contentBlockIndex": index}
    if (call := block.get("toolUse")) is not None:
        start = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
        yield event("contentBlockStart", at | {"start": start})
    for delta in _deltas(block):
        yield event("contentBlockDelta", at | {"delta": delta})
    yield event("contentBlockStop", at)


def _deltas(block: Json) -> Iterator[Json]:
    match block:
        case {"text": text}:
            yield from ({"text": piece} for piece in ["", *_pieces(text)])
        case {"toolUse": {"input": given}}:
            written = json.dumps(given, separators=(",", ":")) if given else ""
            yield from ({"toolUse": {"input": piece}} for piece in _pieces(written))
        case {"reasoningContent": {"redactedContent": data}}:
            yield from ({"reasoningContent": {"redactedContent": piece}} for piece in _pieces(data))
        case {"reasoningContent": {"reasoningText": {"text": text, **more}}}:
            yield from ({"reasoningContent": {"text": piece}} for piece in _pieces(text))
            if more:
                yield {"reasoningContent": more}


def _pieces(text: str) -> list[str]:
    return [text[start : start + 4] for start in range(0, len(text), 4)]


def begin() -> bytes:
    """Return the frame with which an answer begins."""
    return event("messageStart", {"role": "assistant"})


def end(reason: str) -> bytes:
    """Return the frames with which an answer ends."""
    metadata = {"metrics": {"latencyMs": 1}, "usage": TOKENS}
    return event("messageStop", {"stopReason": reason}) + event("metadata", metadata)


def streamed(content: Iterable[Json], reason: str) -> bytes:
    """Return all frames of an answer."""
    blocks = (frame for n, block in enumerate(content) for frame in block_frames(n, block))
    return begin() + b"".join(blocks) + end(reason)
