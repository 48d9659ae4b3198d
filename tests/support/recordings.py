"""Answers that providers gave, fed to the dialects: what is read of them is what they mean.

The folder that OBLIVIOUS_RECORDINGS names holds JSON files, each a list of exchanges with `name`,
`api`, `response` (`status`, `headers`, `body_utf8` or `body_base64`) and, for most of status 200,
`expected`. Run as a program it tells for each dialect how many of them are read rightly, or writes
the table of docs/models.md:

    OBLIVIOUS_RECORDINGS=folder python -m tests.support.recordings [dialect | table]
"""

import base64
import json
import os
import random
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from enclave_server.chat.conversation import Answer, Continuation, Conversation, Kind
from enclave_server.chat.dialects.table import DIALECTS
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.joining import Joiner
from enclave_server.memory import Holding, Memory

VARIABLE = "OBLIVIOUS_RECORDINGS"
SPLITS = 8

DIALECT_OF = {
    "openai-chat": "openai-chat",
    "openai-completions": "openai-chat",
    "openai-responses": "openai-responses",
    "anthropic-messages": "anthropic",
    "gemini-generateContent": "gemini",
    "gemini-streamGenerateContent": "gemini",
    "bedrock-converse": "bedrock",
    "bedrock-converse-stream": "bedrock",
    "bedrock-invoke-with-response-stream": "anthropic-bedrock",
}
STREAMS = ("text/event-stream", "application/vnd.amazon.eventstream")

Meaning = dict[str, Any]


@dataclass(frozen=True)
class Recording:
    """An answer of a provider, and what it means, if that is known."""

    name: str
    dialect: str
    kind: Kind
    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    expected: Meaning | None
    features: frozenset[str] = frozenset()

    @property
    def is_stream(self) -> bool:
        media = dict(self.fields).get(b"content-type", b"").decode().partition(";")[0]
        return self.status == 200 and media in STREAMS


def folder() -> Path | None:
    """Where the recordings are, if anywhere."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def read_all(path: Path) -> Iterator[Recording]:
    """Yield the recordings whose dialect this gateway has a name for."""
    for file in sorted(path.glob("*.json")):
        for item in json.loads(file.read_bytes()):
            if item["api"] in DIALECT_OF:
                yield _recording(item)


def _recording(item: dict[str, Any]) -> Recording:
    response = item["response"]
    coded = response.get("body_base64")
    return Recording(
        item["name"],
        DIALECT_OF[item["api"]],
        Continuation if item["api"] == "openai-completions" else Conversation,
        response["status"],
        tuple((n.lower().encode(), v.encode()) for n, v in response["headers"].items()),
        base64.b64decode(coded) if coded else (response.get("body_utf8") or "").encode(),
        item.get("expected"),
        features(item),
    )


# In a table, where nothing was recorded.
NONE = "\N{EN DASH}"

# What tells that a request asks for something, in any of the dialects.
IN_REQUEST = {
    "results of calls": re.compile(
        r'"tool_result"|"role": ?"tool"|"function_call_output"|"functionResponse"|"toolResult"'
    ),
    "images": re.compile(
        r'"image_url"|"input_image"|"type": ?"image"|"mimeType": ?"image/|"image": ?\{"format"'
    ),
    "files": re.compile(r'"document"|"input_file"|"type": ?"file"|"mimeType": ?"application/pdf'),
    "structured output": re.compile(
        r'"json_schema"|"json_object"|"responseJsonSchema"|"responseSchema"|"textFormat"'
    ),
    "reasoning sent back": re.compile(
        r'"signature": ?"|"thoughtSignature"|"encrypted_content": ?"|"reasoning_content": ?"'
        r'|"reasoning_details"|"redacted_thinking"'
    ),
}
FEATURES = (
    "text",
    "streams",
    "calls",
    "several calls",
    *("results of calls", "images", "files", "structured output", "reasoning"),
    *("reasoning sent back", "cut at the limit", "refused or filtered", "usage"),
    *("errors before an answer", "errors in a stream"),
)


def features(item: dict[str, Any]) -> frozenset[str]:
    """Return which of FEATURES an exchange shows."""
    expected, response = item.get("expected") or {}, item["response"]
    calls, reason = expected.get("tool_calls") or (), expected.get("finish_reason")
    asked = json.dumps((item.get("request") or {}).get("body"))
    media = {n.lower(): v for n, v in response["headers"].items()}.get("content-type", "")
    streams = response["status"] == 200 and media.partition(";")[0] in STREAMS
    shown = {
        "text": bool(expected.get("content")),
        "streams": streams,
        "calls": len(calls) == 1,
        "several calls": len(calls) > 1,
        **{name: pattern.search(asked) is not None for name, pattern in IN_REQUEST.items()},
        "reasoning": bool(expected.get("reasoning")),
        "cut at the limit": reason == "length",
        "refused or filtered": reason == "content_filter" or bool(expected.get("refusal")),
        "usage": bool(expected.get("usage")),
        "errors before an answer": response["status"] != 200,
        "errors in a stream": streams and "error" in expected,
    }
    return frozenset(name for name, is_shown in shown.items() if is_shown)


def table(recordings: Iterable[Recording]) -> str:
    """Return, in Markdown, how many recordings of each feature are read rightly, by dialect."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for recording in recordings:
        right = not differences(recording)
        for feature in (*recording.features, "all"):
            passed, known = counts.get((feature, recording.dialect), (0, 0))
            counts[feature, recording.dialect] = passed + right, known + 1
    dialects = sorted({dialect for _, dialect in counts})
    lines = [["feature", *(f"`{name}`" for name in dialects)], ["---"] * (len(dialects) + 1)]
    for feature in (*FEATURES, "all"):
        told = [counts.get((feature, dialect)) for dialect in dialects]
        lines.append([feature, *(f"{of[0]} of {of[1]}" if of else NONE for of in told)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def splits(body: bytes, seed: int) -> Iterator[list[bytes]]:
    """Yield `body` whole, octet by octet if it is short, and in pieces of any size."""
    yield [body]
    if len(body) < 2000:
        yield [body[i : i + 1] for i in range(len(body))]
    draw = random.Random(seed)
    for _ in range(SPLITS):
        cuts = sorted({0, len(body), *(draw.randrange(len(body) + 1) for _ in range(20))})
        yield [body[a:b] for a, b in pairwise(cuts)]


def read(recording: Recording, pieces: list[bytes]) -> Meaning:
    """Return what the dialect reads of an answer that comes in these `pieces`."""
    dialect = DIALECTS[recording.dialect]
    try:
        if recording.status != 200:
            raise dialect.fault(recording.status, recording.fields, b"".join(pieces))
        if not recording.is_stream:
            return meaning(dialect.read(recording.kind, b"".join(pieces)))
        reader = dialect.stream(recording.kind)
        joiner = Joiner(1, Holding(Memory()))
        for piece in pieces:
            for event in reader.feed(piece):
                joiner.add(event)
                if event.ends:
                    return meaning(joiner.answer())
        return meaning(joiner.answer())
    except UpstreamError as error:
        return {"error": error.failure.name, "param": error.param, "fields": error.fields}


def meaning(answer: Answer) -> Meaning:
    """Return what an answer means, in the shape in which recordings say it."""
    choice = answer.choices[0]
    message = choice.message
    said: Meaning = {"content": message.content or "", "finish_reason": choice.finish_reason}
    said["reasoning"] = message.reasoning_content or ""
    said["tool_calls"] = [
        (call.function.name, _value(call.function.arguments)) for call in message.tool_calls or ()
    ]
    if (usage := answer.usage) is not None:
        details = usage.completion_tokens_details
        said["usage"] = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            **({"reasoning_tokens": details.reasoning_tokens} if details else {}),
        }
    return said


def differences(recording: Recording) -> list[str]:
    """Return in what the reading differs from the meaning, and from itself when it is split."""
    whole = read(recording, [recording.body])
    found = []
    for pieces in splits(recording.body, seed=len(recording.body)):
        if (other := read(recording, pieces)) != whole:
            found.append(f"split in {len(pieces)} it means {other}")
            break
    return found + _against(recording.expected, whole)


def _against(expected: Meaning | None, said: Meaning) -> list[str]:
    if expected is None:
        return []
    if "error" in expected:
        return [] if "error" in said else [f"an error ({expected['error']}) is read as {said}"]
    if "error" in said:
        return [f"it fails: {said}"]
    calls = [(call["name"], _value(call["arguments"])) for call in expected.get("tool_calls", ())]
    wanted: Meaning = {
        "content": expected.get("content", ""),
        "reasoning": expected.get("reasoning", ""),
        "finish_reason": expected.get("finish_reason"),
        "tool_calls": calls,
    }
    if "usage" in expected:
        counted = said.get("usage", {})
        wanted["usage"] = expected["usage"]
        said = {**said, "usage": {name: counted.get(name, 0) for name in expected["usage"]}}
    return [
        f"{name}: {said.get(name)!r} is not {value!r}"
        for name, value in wanted.items()
        if said.get(name) != value
    ]


def _value(arguments: str) -> object:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def main() -> int:
    """Tell how many recordings of each dialect are read rightly, and what is wrong elsewhere."""
    path = folder()
    if path is None:
        print(f"{VARIABLE} names no folder")
        return 2
    if sys.argv[1:] == ["table"]:
        print(table(read_all(path)), end="")
        return 0
    wanted = sys.argv[1:] or sorted(DIALECTS)
    counts: dict[str, list[int]] = {name: [0, 0, 0, 0] for name in wanted}
    for recording in read_all(path):
        if recording.dialect not in counts or recording.dialect not in DIALECTS:
            continue
        wrong = differences(recording)
        count = counts[recording.dialect]
        place = 0 if recording.expected is not None else 2
        count[place] += not wrong
        count[place + 1] += 1
        for line in wrong:
            print(f"{recording.name}: {line[:600]}")
    for name, (right, known, steady, others) in counts.items():
        print(f"{name}: {right} of {known} mean what they say; {steady} of {others} others steady")
    return 0


if __name__ == "__main__":
    sys.exit(main())
