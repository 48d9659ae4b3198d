"""Requests of Anthropic's API without what is dropped in silence.

It identifies, marks what a cache is to keep, or echoes what an answer had beside its content.
"""

from typing import Any

from enclave_server.chat.errors import invalid
from enclave_server.chat.surfaces.shapes import without

Json = dict[str, Any]

OF_REQUEST = frozenset(
    {
        *("metadata", "container", "cache_control", "diagnostics", "user_profile_id"),
        *("workspace_id", "service_tier", "speed", "inference_geo", "anthropic_version"),
        *("anthropic_beta", "betas", "context_management"),
    }
)
OF_BLOCK = frozenset({"cache_control", "caller", "title"})
OF_TEXT = frozenset({"citations"})
OF_TOOL = frozenset({"cache_control", "eager_input_streaming"})
OF_THINKING = frozenset({"display"})
OF_MESSAGE = frozenset({"id", "model", "stop_reason", "stop_sequence", "usage", "type"})

# Dropped where it is empty: a habit of programs.
EMPTY = ("tools", "stop_sequences", "mcp_servers")


def plain_fields(fields: Json) -> Json:
    """Return the members of a request but for those that are dropped, at any place."""
    kept = without(fields, OF_REQUEST)
    kept = {name: value for name, value in kept.items() if value or name not in EMPTY}
    for name, part in (("messages", _message), ("system", _block)):
        if isinstance(listed := kept.get(name), list):
            kept[name] = [part(item) for item in listed]
    if isinstance(tools := kept.get("tools"), list):
        kept["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if isinstance(thinking := kept.get("thinking"), dict):
        kept["thinking"] = without(thinking, OF_THINKING)
    return kept


def _message(message: object) -> object:
    if not isinstance(message, dict):
        return message
    kept = without(message, OF_MESSAGE)
    if isinstance(content := kept.get("content"), list):
        return {**kept, "content": [_block(block) for block in content]}
    return kept


def _block(block: object) -> object:
    if not isinstance(block, dict):
        return block
    kept = without(block, OF_BLOCK | OF_TEXT if block.get("type") == "text" else OF_BLOCK)
    if isinstance(content := kept.get("content"), list):
        return {**kept, "content": [_block(part) for part in content]}
    return kept


def _tool(tool: object, place: str) -> object:
    """Return a tool; raises ChatError 400 for one at the provider, where other rules hold."""
    if not isinstance(tool, dict):
        return tool
    kept = without(tool, OF_TOOL)
    if kept.get("type", "custom") != "custom":
        sentence = f"'{place}' runs at the model's provider. Only tools of your own can be called."
        raise invalid(sentence, f"{place}.type", "unsupported_value")
    return kept
