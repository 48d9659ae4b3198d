"""What a server of the Responses API says: answers and events that OpenAI's own types accept."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

Json = dict[str, Any]

_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

USAGE: Json = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 18,
}


def message(*content: Json, **members: Any) -> Json:
    """Return an item of what the model says."""
    return {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [*content],
        **members,
    }


def text(said: str, **members: Any) -> Json:
    """Return a part of a message."""
    return {"type": "output_text", "text": said, "annotations": [], **members}


def refusal(said: str) -> Json:
    """Return a part of a message that refuses."""
    return {"type": "refusal", "refusal": said}


def reasoning(*summary: str, thought: str | None = None, **members: Any) -> Json:
    """Return an item of reasoning, retold in `summary`, or shown as it is `thought`."""
    item: Json = {"type": "reasoning", "id": "rs_1", **members}
    item["summary"] = [{"type": "summary_text", "text": part} for part in summary]
    if thought is not None:
        item["content"] = [{"type": "reasoning_text", "text": thought}]
    return item


def call(name: str, arguments: str, number: int = 1) -> Json:
    """Return an item that calls a function."""
    return {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def response(*output: Json, **members: Any) -> Json:
    """Return a whole answer."""
    body = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "there",
        "status": "completed",
        "output": [*output],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": USAGE,
        **members,
    }
    Response.model_validate(body)
    return body


def events_of(answer: Json, *, size: int = 3) -> list[Json]:
    """Return the events that stream `answer`, in fragments of `size` characters."""
    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    begun |= {"error": None, "incomplete_details": None}
    told: list[Json] = [{"type": f"response.{word}", "response": begun} for word in _BEGIN]
    for index, item in enumerate(answer["output"]):
        told += ({**event, "output_index": index} for event in _of_item(item, size))
    told.append({"type": f"response.{answer['status']}", "response": answer})
    return [{**event, "sequence_number": number} for number, event in enumerate(told)]


def encode(events: Sequence[Json], *, typed: bool = True) -> bytes:
    """Return events as octets; `typed` ones have been read by OpenAI's types."""
    if typed:
        for event in events:
            _EVENTS.validate_python(event)
    lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return "".join(lines).encode()


_BEGIN = ("created", "in_progress")


def _of_item(item: Json, size: int) -> Iterator[Json]:
    blank = {"content": [], "summary": [], "arguments": ""}
    begun = {**item, **{name: value for name, value in blank.items() if name in item}}
    yield {"type": "response.output_item.added", "item": begun}
    place = {"item_id": item["id"]}
    if item["type"] == "function_call":
        told = item["arguments"]
        for delta in _fragments(told, size):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": delta}
        done = {"name": item["name"], "arguments": told}
        yield {"type": "response.function_call_arguments.done", **place, **done}
    for index, part in enumerate(item.get("summary", ())):
        yield from _of_summary(part, {**place, "summary_index": index}, size)
    for index, part in enumerate(item.get("content", ())):
        yield from _of_part(part, {**place, "content_index": index}, size)
    yield {"type": "response.output_item.done", "item": item}


def _of_summary(part: Json, place: Json, size: int) -> Iterator[Json]:
    yield {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}}
    for delta in _fragments(part["text"], size):
        yield {"type": "response.reasoning_summary_text.delta", **place, "delta": delta}
    yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


def _of_part(part: Json, place: Json, size: int) -> Iterator[Json]:
    member = "refusal" if part["type"] == "refusal" else "text"
    likely = {"logprobs": part.get("logprobs", [])} if part["type"] == "output_text" else {}
    yield {"type": "response.content_part.added", **place, "part": {**part, member: ""}}
    for number, delta in enumerate(_fragments(part[member], size)):
        more = {name: value[number : number + 1] for name, value in likely.items()}
        yield {"type": f"response.{part['type']}.delta", **place, "delta": delta, **more}
    end = {"type": f"response.{part['type']}.done", **place, member: part[member], **likely}
    yield end
    yield {"type": "response.content_part.done", **place, "part": part}


def _fragments(told: str, size: int) -> list[str]:
    return [told[start : start + size] for start in range(0, len(told), size)]
