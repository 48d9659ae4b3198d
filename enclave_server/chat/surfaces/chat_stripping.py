"""A chat request without what is dropped in silence, in the one form that its shape takes."""

from typing import Any

from enclave_server.chat.surfaces import dropped
from enclave_server.chat.surfaces.shapes import strip, without

Json = dict[str, Any]

# What servers call it, of which a client may echo either; what is no text says how to think.
REASONING_NAMES = frozenset({"reasoning_content", "reasoning"})

# What most messages have, and nothing else.
USUAL = frozenset({"role", "content"})


def plain_fields(fields: Json) -> Json:
    """Return the members of a request but for those that are dropped, at any place."""
    kept = strip(fields)
    if isinstance(messages := kept.get("messages"), list):
        kept = {**kept, "messages": [_message(message) for message in messages]}
    if isinstance(tools := kept.get("tools"), list):
        return {**kept, "tools": [_tool(tool) for tool in tools]}
    return _without_choice(kept)


def _without_choice(fields: Json) -> Json:
    """Return `fields` without the choice among no tools."""
    if dropped.OF_TOOLS.isdisjoint(fields):
        return fields
    if fields.get("tool_choice", "auto") not in dropped.FREE_CHOICES:
        return fields
    return without(fields, dropped.OF_TOOLS)


def _message(message: object) -> object:
    if not isinstance(message, dict):
        return message
    if message.keys() == USUAL and isinstance(message["content"], str):
        return message  # most messages
    kept = without(message, dropped.OF_MESSAGE)
    if not REASONING_NAMES.isdisjoint(kept):
        kept = _with_one_reasoning(kept)
    if isinstance(calls := kept.get("tool_calls"), list):
        kept = {**kept, "tool_calls": [_call(call) for call in calls]}
    if isinstance(content := kept.get("content"), list):
        return _with_parts(kept, content)
    if content is None and kept.get("role") == "tool":
        return {**kept, "content": ""}
    return kept


def _with_parts(message: Json, content: list[Any]) -> Json:
    if not content and message.get("role") == "assistant":
        return without(message, frozenset({"content"}))
    return {**message, "content": [_part(part) for part in content]}


def _with_one_reasoning(message: Json) -> Json:
    """Return `message` with its reasoning under the one of the names under which it is given."""
    kept = without(message, REASONING_NAMES)
    if message.get("role") != "assistant":
        return kept
    thoughts = [message.get(name) for name in ("reasoning_content", "reasoning")]
    said = next((text for text in thoughts if isinstance(text, str) and text), None)
    return kept if said is None else {**kept, "reasoning_content": said}


def _part(part: object) -> object:
    if not isinstance(part, dict):
        return part
    kept = without(part, dropped.OF_PART)
    image, file = kept.get("image_url"), kept.get("file")
    if isinstance(image, str):
        return {**kept, "image_url": {"url": image}}
    if isinstance(image, dict):
        return {**kept, "image_url": without(image, dropped.OF_FILE)}
    if isinstance(file, dict):
        return {**kept, "file": without(file, dropped.OF_FILE)}
    return kept


def _call(call: object) -> object:
    if not isinstance(call, dict):
        return call
    kept = {"type": "function", **without(call, dropped.OF_CALL)}
    if isinstance(function := kept.get("function"), dict):
        return {**kept, "function": without(function, dropped.OF_CALL)}
    return kept


def _tool(tool: object) -> object:
    if not isinstance(tool, dict):
        return tool
    kept = without(tool, dropped.OF_TOOL)
    if isinstance(function := kept.get("function"), dict):
        return {**kept, "function": without(function, dropped.OF_TOOL)}
    return kept
