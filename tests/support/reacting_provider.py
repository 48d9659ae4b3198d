"""A stand-in for a provider that reacts: it calls tools that it is offered, and looks at images.

It speaks chat completions and `generateContent`, as the path says. It knows no language: each
answer is the sentence below for what the last message of the conversation is.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.upstream import DONE, Exchange, chunk_of, completion, event

Json = dict[str, Any]

TEXT = "Paris, says the stand-in."
SEEN = "There is an image, says the stand-in."
TOLD = "The tool said: "
THOUGHT = "Let me think."

# What tools are called with; of the members that a tool has, these are filled in.
ARGUMENTS: Json = {
    "command": "echo oblivious > made.txt",
    "city": "Paris",
    "description": "write a word",
    "is_background": False,
}
# Of the many tools of an agent, the one that runs commands.
SHELLS = ("Bash", "run_shell_command")


@dataclass(frozen=True)
class Wanted:
    """What a request says, whichever its API."""

    results: list[str]
    tools: dict[str, Json]
    schema: Json | None
    shows_image: bool
    is_stream: bool


@dataclass(frozen=True)
class Said:
    """What is answered: a text, or a call of the tool of that name with arguments."""

    text: str
    tool: str | None = None
    arguments: Json | None = None


async def reacting(exchange: Exchange) -> None:
    """Answer a request of either API, whole or as a stream."""
    asked = exchange.received
    if "generateContent" in asked.target or "streamGenerateContent" in asked.target:
        wanted, write = _of_gemini(asked.json, "stream" in asked.target), _gemini
    else:
        wanted, write = _of_chat(asked.json), _chat
    pieces = list(write(react(wanted), wanted.is_stream))
    if not wanted.is_stream:
        await exchange.whole(200, b"".join(pieces))
        return
    await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
    for piece in [*pieces, b""]:
        await exchange.chunk(piece)


def react(wanted: Wanted) -> Said:
    """Return what is answered: results are told, tools called, an object made, an image seen."""
    if wanted.results:
        return Said(TOLD + "".join(wanted.results).strip())
    if wanted.tools:
        name = next((each for each in SHELLS if each in wanted.tools), next(iter(wanted.tools)))
        return Said("", name, _filled(wanted.tools[name]))
    if wanted.schema is not None:
        return Said(json.dumps(_filled(wanted.schema)))
    return Said(SEEN if wanted.shows_image else TEXT)


def _filled(schema: Json) -> Json:
    members = schema.get("properties", {})
    return {name: ARGUMENTS[name] for name in members if name in ARGUMENTS}


def _of_chat(body: Json) -> Wanted:
    last = body["messages"][-1]
    results = [_text(last["content"])] if last["role"] == "tool" else []
    functions = [tool["function"] for tool in body.get("tools") or ()]
    wanted = body.get("response_format") or {}
    return Wanted(
        results,
        {function["name"]: function.get("parameters") or {} for function in functions},
        wanted.get("json_schema", {}).get("schema"),
        '"image_url"' in json.dumps(last),
        body.get("stream") is True,
    )


def _text(content: str | list[Json]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _of_gemini(body: Json, is_stream: bool) -> Wanted:
    parts = body["contents"][-1]["parts"]
    functions = [f for tool in body.get("tools") or () for f in tool["functionDeclarations"]]
    results = [json.dumps(p["functionResponse"]) for p in parts if "functionResponse" in p]
    return Wanted(
        results,
        {function["name"]: function.get("parametersJsonSchema") or {} for function in functions},
        body.get("generationConfig", {}).get("responseJsonSchema"),
        any("inlineData" in part for part in parts),
        is_stream,
    )


def _chat(said: Said, is_stream: bool) -> Iterator[bytes]:
    thought: Json = {"reasoning_content": THOUGHT}
    calls: list[Json] = []
    if said.tool is not None:
        function = {"name": said.tool, "arguments": json.dumps(said.arguments)}
        calls = [{"index": 0, "id": "call_1", "type": "function", "function": function}]
    reason = "tool_calls" if calls else "stop"
    called = {"tool_calls": calls} if calls else {}
    if not is_stream:
        answer = completion(said.text)
        answer["choices"][0]["message"] |= {**thought, **called}
        answer["choices"][0]["finish_reason"] = reason
        yield json.dumps(answer).encode()
        return
    words = [{"content": word + " "} for word in said.text.split()] if not calls else [called]
    for delta in ({"role": "assistant"}, thought, *words):
        yield event(chunk_of(delta))
    yield event(chunk_of({}, reason, usage=completion("")["usage"])) + DONE


def _gemini(said: Said, is_stream: bool) -> Iterator[bytes]:
    part: Json = {"text": said.text}
    if said.tool is not None:
        part = {"functionCall": {"name": said.tool, "args": said.arguments}}
    parts = [{"text": THOUGHT, "thought": True}, part]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}
    answer = {"candidates": [candidate], "usageMetadata": usage}
    yield event(answer) if is_stream else json.dumps(answer).encode()
