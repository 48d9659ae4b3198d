"""Answers of the Responses API: what is signed of one, and whether its stream said the same."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from oblivious_client.errors import AnswerTruncated, AnswerUnreadable, ServiceError
from protocol import strict_json
from protocol.errors import MalformedMessage
from protocol.event_stream import Event, EventParser, EventTooLarge

# The event that ends an answer holds it whole; this bounds what a peer can make us keep.
MAX_EVENT_OCTETS = 64 * 1024 * 1024

OBJECT = "response"

_ENDS = ("response.completed", "response.incomplete")
_FAILED = "response.failed"

# Stands in what is signed between the name of a namespace and that of a function in it.
_IN_NAMESPACE = "__ns__"

# Why an answer is not complete, in the words that are signed.
_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


def choice_of(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is signed of an answer, or raise AnswerUnreadable.

    Its items are one choice: their texts one after another, and their calls.
    """
    try:
        items = response["output"]
        said = [part for item in items if item["type"] == "message" for part in item["content"]]
        thought = [part for item in items for part in item.get("summary") or ()]
        calls = [_call(item) for item in items if item["type"] == "function_call"]
        return {
            "index": 0,
            "content": "".join(part["text"] for part in said if part["type"] != "refusal"),
            "reasoning_content": "".join(part["text"] for part in thought),
            "refusal": "".join(part["refusal"] for part in said if part["type"] == "refusal"),
            "tool_calls": calls,
            "finish_reason": _finish_reason(response, calls),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise AnswerUnreadable("the answer has no items") from error


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    namespace, own = item.get("namespace"), item["name"]
    name = own if namespace is None else f"{namespace}{_IN_NAMESPACE}{own}"
    function = {"name": name, "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def _finish_reason(response: Mapping[str, Any], calls: list[dict[str, Any]]) -> str:
    if response["status"] == "completed":
        return "tool_calls" if calls else "stop"
    return _REASONS[response["incomplete_details"]["reason"]]


class StreamedItems:
    """Takes a stream's events; the last, which holds the answer whole, is held back."""

    def __init__(self) -> None:
        self._events = EventParser(MAX_EVENT_OCTETS)
        self._told: dict[int, io.StringIO] = {}
        self._done: dict[int, Any] = {}
        self._response: dict[str, Any] | None = None
        self.last: Event | None = None
        self.failed: Event | None = None  # which says that there will be no last

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
        """Return the whole answer; raises AnswerTruncated if the stream did not end.

        Raises AnswerUnreadable if its events said anything else than its end does.
        """
        if self._response is None:
            raise AnswerTruncated
        output = self._response.get("output")
        if not isinstance(output, list) or not self._agrees(output):
            raise AnswerUnreadable("the events of the answer say something else than its end")
        return self._response

    def _agrees(self, output: list[Any]) -> bool:
        told = {index: text.getvalue() for index, text in self._told.items()}
        items = dict(enumerate(output))
        texts = {index: text for index, item in items.items() if (text := _text(item))}
        return self._done == items and told == texts

    def _take(self, event: Event) -> bool:
        """Take an event; return whether it may be passed on before the end has verified."""
        try:
            body = strict_json.decode_object(event.data)
            return self._enter(event, body)
        except (MalformedMessage, KeyError, TypeError, AttributeError) as error:
            raise AnswerUnreadable("the stream is not one of a response") from error

    def _enter(self, event: Event, body: dict[str, Any]) -> bool:
        kind = body["type"]
        if kind == _FAILED:
            self.failed = event
            error = body["response"]["error"]
            code = error.get("code")
            raise ServiceError(500, str(error["message"]), error_code=code and str(code))
        if kind in _ENDS:
            self.last, self._response = event, dict(body["response"])
            return False
        if kind.endswith(".delta"):
            self._told.setdefault(body["output_index"], io.StringIO()).write(body["delta"])
        elif kind == "response.output_item.done":
            self._done[body["output_index"]] = body["item"]
        return True


def _text(item: Mapping[str, Any]) -> str:
    """Return what is told in fragments of an item."""
    if item["type"] == "function_call":
        return str(item["arguments"])
    parts = item["content"] if item["type"] == "message" else item["summary"]
    return "".join(part.get("text") or part.get("refusal") or "" for part in parts)
