"""What Google's servers say: answers that the types of its own SDK accept."""

import json
from collections.abc import Sequence
from typing import Any

from google.genai.types import GenerateContentResponse

Json = dict[str, Any]

SIGNATURE = "c2lnbmVkIHRob3VnaHQ="
USAGE: Json = {
    "promptTokenCount": 11,
    "candidatesTokenCount": 2,
    "thoughtsTokenCount": 5,
    "cachedContentTokenCount": 3,
    "totalTokenCount": 18,
}


def text(said: str, **members: Any) -> Json:
    """Return a part of what the model says."""
    return {"text": said, **members}


def thought(said: str, **members: Any) -> Json:
    """Return a part of what the model thinks."""
    return {"text": said, "thought": True, **members}


def call(name: str, args: Json | None = None, **members: Any) -> Json:
    """Return a part that calls a function."""
    called: Json = {"name": name} if args is None else {"name": name, "args": args}
    return {"functionCall": called, **members}


def begun(name: str, **members: Any) -> Json:
    """Return a part that begins a call of which pieces follow."""
    return {"functionCall": {"name": name, "willContinue": True}, **members}


def piece(
    path: str,
    *,
    string: str | None = None,
    number: float | None = None,
    more: bool = False,
    last: bool = False,
) -> Json:
    """Return a part with a value of a call, of which `more` may follow; the `last` ends it."""
    told = {"jsonPath": path, "stringValue": string, "numberValue": number, "willContinue": more}
    value = {name: told[name] for name in told if told[name] not in (None, False)}
    called = {"partialArgs": [value], "willContinue": not last}
    return {"functionCall": called}


def candidate(*parts: Json, why: str | None = "STOP", **members: Any) -> Json:
    """Return one of the answers; `why` it ended, unless it goes on."""
    said = {"content": {"role": "model", "parts": [*parts]}, "index": 0, **members}
    return said if why is None else {**said, "finishReason": why}


def response(*candidates: Json, **members: Any) -> Json:
    """Return a whole answer, or an event of one."""
    body = {
        "candidates": [*candidates],
        "usageMetadata": USAGE,
        "modelVersion": "there",
        "responseId": "r1",
        **members,
    }
    body = {name: value for name, value in body.items() if value is not None}
    GenerateContentResponse.model_validate_json(json.dumps(body))
    return body


def events_of(answer: Json, *, size: int = 3) -> list[Json]:
    """Return the events that stream `answer`: text in fragments of `size`, calls whole."""
    pieces = [piece for each in answer["candidates"] for piece in _pieces(each, size)]
    if not pieces:
        return [answer]
    *before, last = [response(piece, usageMetadata=_so_far(answer)) for piece in pieces]
    more = {name: answer[name] for name in ("usageMetadata", "promptFeedback") if name in answer}
    return [*before, {**last, **more}]


def encode(events: Sequence[object]) -> bytes:
    """Return events as octets."""
    return "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events).encode()


def _so_far(answer: Json) -> Json | None:
    return {"promptTokenCount": 11, "totalTokenCount": 11} if "usageMetadata" in answer else None


def _pieces(whole: Json, size: int) -> list[Json]:
    index, why = whole.get("index", 0), whole.get("finishReason")
    parts = [
        piece for part in whole.get("content", {}).get("parts", ()) for piece in _cut(part, size)
    ]
    pieces = [candidate(part, why=None, index=index) for part in parts]
    end: Json = {"index": index}
    if why is not None:
        end["finishReason"] = why
    if "logprobsResult" in whole:
        end["logprobsResult"] = whole["logprobsResult"]
    return [*pieces, end]


def _cut(part: Json, size: int) -> list[Json]:
    """Return the fragments of a part; a signature comes with the last of them."""
    if not part.get("text"):
        return [part]
    said = part["text"]
    texts = [said[start : start + size] for start in range(0, len(said), size)]
    signature = {name: part[name] for name in ("thoughtSignature",) if name in part}
    kind = {name: part[name] for name in ("thought",) if name in part}
    cut: list[Json] = [{"text": each, **kind} for each in texts]
    cut[-1] |= signature
    return cut
