"""Answers of Anthropic's Messages API: what is signed of one, whole or streamed.

It is made of blocks. Their texts one after another are what is signed for a text, their thoughts
for reasoning, and the arguments of calls as they are written, to the octet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Never

from oblivious_client.errors import AnswerTruncated, AnswerUnreadable, ServiceError
from protocol import strict_json
from protocol.errors import MalformedMessage
from protocol.event_stream import Event, EventParser, EventTooLarge

# An event is some hundred octets, or the arguments of a call; this bounds what is kept of one.
MAX_EVENT_OCTETS = 16 * 1024 * 1024

# Why an answer ended, in the words that are signed.
_REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

# What a delta adds to which member of its block; of a signature nothing is signed.
_ADDED = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}
_HIDDEN = "redacted_thinking"
_NO_INPUT = "{}"
_SPACE = " \t\n\r"

Span = tuple[int, int]
"""Where a value begins and ends in a text."""


def _refuse_constant(_: str) -> Never:
    raise ValueError


# Finds where values end. An integer of any length costs no more than its text, as none is made.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)


def answer_in(data: bytes) -> dict[str, Any]:
    """Return the one choice of a whole answer, and what is signed beside; or AnswerUnreadable."""
    try:
        text = data.decode()
        spans = list(_inputs(text))
        # What a model wrote is signed as a text, and may be JSON of more meanings than one.
        body = strict_json.decode_object(_without(text, spans))
        blocks = [dict(block) for block in body["content"]]
        for block, span in zip(blocks, spans, strict=True):
            block["arguments"] = None if span is None else text[span[0] : span[1]]
        return _signed(body, blocks, body["stop_reason"])
    except (MalformedMessage, LookupError, TypeError, ValueError, RecursionError) as error:
        raise AnswerUnreadable("the answer is no message") from error


class StreamedBlocks:
    """Takes a stream's events; the last, which holds the signature, is held back."""

    def __init__(self) -> None:
        self._events = EventParser(MAX_EVENT_OCTETS)
        self._begun: dict[str, Any] | None = None
        self._blocks: list[dict[str, Any]] = []
        self._words: list[str] = []  # of the block that is open
        self._is_open = False
        self._reason: str | None = None
        self._signature: dict[str, Any] = {}
        self.last: Event | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes but for the last one.

        Raises ServiceError for the one that says that the answer failed.
        """
        try:
            events = self._events.feed(data)
        except EventTooLarge as error:
            raise AnswerUnreadable("an event is larger than any honest one") from error
        return [event for event in events if self.last is None and self._take(event)]

    def finish(self) -> dict[str, Any]:
        """Return the choice and what is signed beside; AnswerTruncated without an end."""
        if self.last is None or self._begun is None or self._is_open:
            raise AnswerTruncated
        try:
            return _signed(self._begun | self._signature, self._blocks, self._reason)
        except (LookupError, TypeError) as error:
            raise AnswerUnreadable("the stream is not one of a message") from error

    def _take(self, event: Event) -> bool:
        """Take an event; return whether it may be passed on before the end has verified."""
        try:
            body = strict_json.decode_object(event.data)
            self._enter(body)
        except (MalformedMessage, LookupError, TypeError, ValueError) as error:
            raise AnswerUnreadable("the stream is not one of a message") from error
        if body["type"] != "message_stop":
            return True
        self.last, self._signature = event, body
        return False

    def _enter(self, body: dict[str, Any]) -> None:
        kind = body["type"]
        if (kind == "message_start") == (self._begun is not None) and kind not in ("error", "ping"):
            raise ValueError("an event out of turn")
        match kind:
            case "message_start" if not body["message"]["content"]:
                self._begun = dict(body["message"])
            case "content_block_start" if not self._is_open:
                self._begin(body["index"], body["content_block"])
            case "content_block_delta" if self._is_open:
                self._add(body["index"], body["delta"])
            case "content_block_stop" if self._is_open:
                self._end(body["index"])
            case "message_delta" if self._reason is None:
                self._reason = str(body["delta"]["stop_reason"])
            case "error":
                error = body["error"]
                raise ServiceError(500, str(error["message"]), kind=str(error["type"]))
            case "message_stop" | "ping":
                pass
            case _:
                raise ValueError("an event out of turn")

    def _begin(self, index: int, block: Mapping[str, Any]) -> None:
        empty = not (block.get("text") or block.get("thinking") or block.get("input"))
        if index != len(self._blocks) or not empty:
            raise ValueError("a block out of turn")
        self._blocks.append(dict(block))
        self._words.clear()
        self._is_open = True

    def _add(self, index: int, delta: Mapping[str, Any]) -> None:
        kind, member = _ADDED[delta["type"]]
        if index != len(self._blocks) - 1 or self._blocks[-1]["type"] != kind:
            raise ValueError("a delta out of turn")
        if member != "signature":
            self._words.append(delta[member])

    def _end(self, index: int) -> None:
        if index != len(self._blocks) - 1:
            raise ValueError("an end out of turn")
        block = self._blocks[-1]
        member = {"text": "text", "thinking": "thinking"}.get(block["type"], "arguments")
        block[member] = "".join(self._words)
        self._is_open = False


def _signed(
    message: Mapping[str, Any], blocks: list[dict[str, Any]], reason: object
) -> dict[str, Any]:
    """Return a message as the one choice of an answer, with its model and its signature."""
    if any(block["type"] not in ("text", "thinking", "tool_use", _HIDDEN) for block in blocks):
        raise ValueError("a block of another type than signed")
    choice = {
        "index": 0,
        "content": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "reasoning_content": "".join(
            block["thinking"] for block in blocks if block["type"] == "thinking"
        ),
        "tool_calls": [_call(block) for block in blocks if block["type"] == "tool_use"],
        "finish_reason": _REASONS[str(reason)],
    }
    beside = {name: value for name, value in message.items() if name.startswith("tee_")}
    return {"model": message["model"], **beside, "choices": [choice]}


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": block["name"], "arguments": block["arguments"]}
    if function["arguments"] is None:
        raise TypeError("a call without arguments")
    return {"id": block["id"], "type": "function", "function": function}


def _without(text: str, spans: Iterable[Span | None]) -> str:
    """Return `text` with an empty object in each of the `spans`."""
    kept, start = [], 0
    for begin, end in filter(None, spans):
        kept += [text[start:begin], _NO_INPUT]
        start = end
    return "".join([*kept, text[start:]])


def _inputs(text: str) -> Iterator[Span | None]:
    """Yield where each block of a message has its `input`.

    `text` may be anything: of what is no JSON, or has a member twice, what is left without these
    values is not either.
    """
    content = dict(_members(text, _skip(text, 0))).get("content")
    start = _skip(text, content[0] + 1) if content else len(text)
    while text[start] == "{":
        yield dict(_members(text, start)).get("input")
        start = _after(text, start)


def _members(text: str, start: int) -> Iterator[tuple[str, Span]]:
    """Yield the members of the object at `start`: each name, and where its value stands."""
    start = _skip(text, start + 1)
    while text[start] == '"':
        name, end = _DECODER.raw_decode(text, start)
        value = _skip(text, _skip(text, end) + 1)  # past the colon
        end = _DECODER.raw_decode(text, value)[1]
        yield name, (value, end)
        start = _after(text, value)


def _after(text: str, start: int) -> int:
    """Return where what follows the value at `start`, and a comma, begins."""
    end = _skip(text, _DECODER.raw_decode(text, start)[1])
    return _skip(text, end + 1) if text[end] == "," else end


def _skip(text: str, start: int) -> int:
    while text[start] in _SPACE:
        start += 1
    return start
