"""What each dialect costs: to write a long request, and to read an answer, whole and streamed.

All are asked with a key: Amazon's too, so that no request is signed here.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from enclave_server.addresses import UnixAddress
from enclave_server.chat.conversation import Conversation, Message, Tool, ToolCall
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.table import DIALECTS
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import find_profile
from enclave_server.chat.upstream.endpoint import Upstream
from scripts.benchmark.floor import cpu_microseconds

Json = Mapping[str, Any]

PROFILES = {
    "anthropic": "anthropic",
    "anthropic-bedrock": "anthropic",
    "anthropic-vertex": "anthropic",
    "bedrock": "bedrock",
    "gemini": "gemini",
    "openai-chat": "openai",
    "openai-responses": "openai",
}

TEXT = "It rains in Rome. " * 16
PIECE = " rains"
GIVEN = {"place": "Rome", "hours": [1.5, 2]}
ARGUMENTS = json.dumps(GIVEN)
ROUNDS, TOOLS = 5, 6


class Sample(NamedTuple):
    """A whole answer that says TEXT and calls `f`; and of a stream the beginning, and a PIECE."""

    answer: bytes
    opening: bytes
    event: bytes


def question() -> Conversation:
    """Return a conversation of 21 messages: instructions, and rounds with two calls each."""
    told = [Message("system", TEXT)]
    for number in range(0, 2 * ROUNDS, 2):
        calls = [ToolCall(each, "f0", ARGUMENTS) for each in (number, number + 1)]
        told += [Message("user", TEXT), Message("assistant", TEXT, calls=calls)]
        told += [Message("tool", TEXT, result_of=call.number) for call in calls]
    properties = {"place": {"type": "string"}, "hours": {"type": "array"}}
    parameters = {"type": "object", "properties": properties, "required": ["place"]}
    tools = [Tool(f"f{number}", TEXT, parameters) for number in range(TOOLS)]
    return Conversation(model="m", messages=told, tools=tools)


def samples() -> dict[str, Sample]:
    """Return what a server answers in each dialect."""
    return {
        "anthropic": _anthropic(_sse),
        "anthropic-bedrock": _anthropic(_framed),
        "anthropic-vertex": _anthropic(_sse),
        "bedrock": _bedrock(),
        "gemini": _gemini(),
        "openai-chat": _openai_chat(),
        "openai-responses": _openai_responses(),
    }


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the rows of the table; a quick run measures the same, it takes seconds."""
    asked, answered = question(), samples()
    return {name: _row(name, asked, answered[name]) for name in DIALECTS}


def model_of(name: str) -> Model:
    """Return a model whose upstream speaks that dialect."""
    upstream = Upstream("provider", UnixAddress("/nowhere"))
    return Model("m", upstream, "there", profile=find_profile(PROFILES[name]))


def _row(name: str, asked: Conversation, sample: Sample) -> dict[str, float]:
    dialect, model, account = DIALECTS[name], model_of(name), Account("key")
    reader = dialect.stream(Conversation)
    list(reader.feed(sample.opening))
    return {
        "write a request, µs": cpu_microseconds(lambda: dialect.request(asked, model, account)),
        "read an answer, µs": cpu_microseconds(lambda: dialect.read(Conversation, sample.answer)),
        "read an event, µs": cpu_microseconds(lambda: list(reader.feed(sample.event))),
    }


# What servers say: whole, and in events.


def _octets(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _sse(event: Json) -> bytes:
    kind = f"event: {event['type']}\n".encode() if "type" in event else b""
    return kind + b"data: " + _octets(event) + b"\n\n"


def _framed(event: Json) -> bytes:
    return _frame("chunk", {"bytes": base64.b64encode(_octets(event)).decode()})


def _frame(kind: str, content: Json) -> bytes:
    """Return an event in Amazon's framing."""
    told = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    headers = b"".join(_header(name.encode(), value.encode()) for name, value in told.items())
    payload = _octets(content)
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    framed = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return framed + struct.pack("!I", zlib.crc32(framed))


def _header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + b"\x07" + struct.pack("!H", len(value)) + value


def _anthropic(encode: Callable[[Json], bytes]) -> Sample:
    usage = {"input_tokens": 900, "output_tokens": 80}
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": GIVEN}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "there"}
    content = [{"type": "text", "text": TEXT}, call]
    begun: Json = {"content": [], "stop_reason": None, "usage": usage}
    block = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": PIECE}
    return Sample(
        _octets({**message, "content": content, "stop_reason": "tool_use", "usage": usage}),
        encode({"type": "message_start", "message": {**message, **begun}})
        + encode({"type": "content_block_start", "index": 0, "content_block": block}),
        encode({"type": "content_block_delta", "index": 0, "delta": delta}),
    )


def _bedrock() -> Sample:
    call = {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": GIVEN}}
    message = {"role": "assistant", "content": [{"text": TEXT}, call]}
    usage = {"inputTokens": 900, "outputTokens": 80, "totalTokens": 980}
    delta = {"contentBlockIndex": 0, "delta": {"text": PIECE}, "p": "abcdefgh"}
    return Sample(
        _octets({"output": {"message": message}, "stopReason": "tool_use", "usage": usage}),
        _frame("messageStart", {"role": "assistant"}),
        _frame("contentBlockDelta", delta),
    )


def _gemini() -> Sample:
    usage = {"promptTokenCount": 900, "candidatesTokenCount": 80, "totalTokenCount": 980}

    def response(*parts: Json, **members: str) -> Json:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **members}
        more = {"modelVersion": "there", "responseId": "r1"}
        return {"candidates": [candidate], "usageMetadata": usage, **more}

    call = {"functionCall": {"name": "f", "args": GIVEN}}
    return Sample(
        _octets(response({"text": TEXT}, call, finishReason="STOP")),
        _sse(response({"text": PIECE})),
        _sse(response({"text": PIECE})),
    )


def _openai_chat() -> Sample:
    completion = {"id": "chatcmpl-0", "created": 1, "model": "there"}
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": ARGUMENTS},
    }
    message = {"role": "assistant", "content": TEXT, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 900, "completion_tokens": 80, "total_tokens": 980}

    def chunk(**delta: str) -> bytes:
        told = {"index": 0, "delta": delta, "finish_reason": None}
        return _sse({**completion, "object": "chat.completion.chunk", "choices": [told]})

    whole = {**completion, "object": "chat.completion", "choices": [choice], "usage": usage}
    return Sample(_octets(whole), chunk(role="assistant", content=""), chunk(content=PIECE))


def _openai_responses() -> Sample:
    text = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}
    output = [{**message, "content": [text]}, {**call, "arguments": ARGUMENTS}]
    usage = {"input_tokens": 900, "output_tokens": 80, "total_tokens": 980}
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "there"}
    begun = {**response, "status": "in_progress", "output": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {**text, "text": ""}
    opening = (
        {"type": "response.created", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**message, "content": []},
        },
        {"type": "response.content_part.added", **place, "part": part},
    )
    return Sample(
        _octets({**response, "status": "completed", "output": output, "usage": usage}),
        b"".join(_sse(event) for event in opening),
        _sse({"type": "response.output_text.delta", **place, "delta": PIECE}),
    )
