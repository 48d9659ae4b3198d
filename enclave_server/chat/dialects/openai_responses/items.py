"""A conversation as the items of the Responses API."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from enclave_server.chat.called import arguments_of
from enclave_server.chat.conversation import (
    Content,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    ToolCall,
)
from enclave_server.chat.dialects.openai_responses.keepsakes import (
    Called,
    Entry,
    Reasoning,
    Said,
    recall,
)
from enclave_server.chat.dialects.parts import identifier

Json = dict[str, Any]

# Of every file: what it is called at home tells whose it is.
FILE_NAME = "document.pdf"


def write_items(messages: list[Message], *, reasoning_returns: bool = False) -> list[Json]:
    """Return the items that `messages` become, with reasoning in clear if it `returns`."""
    items: list[Json] = []
    for index, message in enumerate(messages):
        items += _items(index, message, reasoning_returns)
    return items


def _items(index: int, message: Message, reasoning_returns: bool) -> Iterator[Json]:
    if message.result_of is not None:
        yield {
            "type": "function_call_output",
            "call_id": identifier(message.result_of),
            "output": _output(message.content or ""),
        }
    elif message.role == "assistant":
        entries = recall(message.state, f"messages[{index}]")
        if not entries and reasoning_returns and message.reasoning and message.calls:
            yield _thought(index, message.reasoning)
        yield from _Turn(message).items(entries)
    else:
        content = _content(message.content or "")
        yield {"type": "message", "role": message.role, "content": content}


class _Turn:
    """What the assistant said, laid out again in the order in which it came."""

    def __init__(self, message: Message) -> None:
        self._said = _said(message)
        self._calls = iter(message.calls or ())

    def items(self, entries: list[Entry]) -> Iterator[Json]:
        """Yield the items, in the order of `entries` as far as they say it."""
        # All text is in the last place of a message: of several nobody knows which said what.
        last = max((i for i, entry in enumerate(entries) if isinstance(entry, Said)), default=None)
        for number, entry in enumerate(entries):
            match entry:
                case Reasoning():
                    yield msgspec.to_builtins(entry)
                case Said(phase=phase) if number == last:
                    yield from self._message(phase)
                case Called():
                    yield from map(_call, islice(self._calls, 1))
        yield from self._message(None)
        yield from map(_call, self._calls)

    def _message(self, phase: str | None) -> Iterator[Json]:
        content, self._said = self._said, None
        if content is None:
            return
        message: Json = {"type": "message", "role": "assistant", "content": content}
        yield message if phase is None else {**message, "phase": phase}


def _said(message: Message) -> str | list[Json] | None:
    """Return what an assistant's message says, as text if it refuses nothing; None if nothing."""
    content = message.content or []
    parts: list[Part] = [Text(content)] if isinstance(content, str) else [*content]
    if message.refusal is not None:
        parts.append(Refusal(message.refusal))
    if not any(isinstance(part, Refusal) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, Text)) or None
    return [
        {"type": "refusal", "refusal": part.text}
        if isinstance(part, Refusal)
        else {"type": "output_text", "text": part.text, "annotations": []}
        for part in parts
        if isinstance(part, Text | Refusal)
    ]


def _thought(index: int, text: str) -> Json:
    content = [{"type": "reasoning_text", "text": text}]
    return {"type": "reasoning", "id": f"rs_{index:05d}", "summary": [], "content": content}


def _call(call: ToolCall) -> Json:
    return {
        "type": "function_call",
        "call_id": identifier(call.number),
        "name": call.name,
        "arguments": arguments_of(call.arguments),
    }


def _output(content: Content) -> str | list[Json]:
    """Return what a function returned: text as text, since not every server takes parts here."""
    match content:
        case str():
            return content
        case [Text(text=text)]:
            return text
    return [_part(part) for part in content]


def _content(content: Content) -> str | list[Json]:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Part) -> Json:
    match part:
        case Text(text=text) | Refusal(text=text):
            return {"type": "input_text", "text": text}
        case Image(url=url, detail=detail):
            return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
        case File(data=data, media_type=media_type):
            url = f"data:{media_type};base64,{data}"
            return {"type": "input_file", "filename": FILE_NAME, "file_data": url}
