"""A request of the Responses API without what is dropped in silence; what is kept is refused.

Nothing is kept between requests: whatever names something that would have been is refused.
"""

from typing import Any

from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.strict_json import printable
from enclave_server.chat.surfaces import dropped
from enclave_server.chat.surfaces.shapes import strip, without

Json = dict[str, Any]

# Members that ask for something to be kept, or for what was kept.
KEEPING = (
    "store",
    "background",
    "conversation",
    "previous_response_id",
    "prompt",
)

RUN_BY_CLIENTS = ("function", "namespace")

OF_REQUEST = frozenset({*KEEPING, "client_metadata", "stream_options"})
OF_ITEM = frozenset({"id", "phase", "status"})
OF_PART = dropped.OF_PART | {"filename"}


def plain_fields(fields: Json) -> Json:
    """Return the members of a request but for those that are dropped; raises ChatError 400."""
    for name in KEEPING:
        if fields.get(name):
            raise _nothing_is_kept(name)
    kept = without(strip(fields), OF_REQUEST)
    if isinstance(items := kept.get("input"), list):
        kept = {**kept, "input": [_item(item, index) for index, item in enumerate(items)]}
    if isinstance(tools := kept.get("tools"), list):
        return {**kept, "tools": [_tool(tool, index) for index, tool in enumerate(tools)]}
    if kept.get("tool_choice", "auto") in dropped.FREE_CHOICES:
        return without(kept, dropped.OF_TOOLS)
    return kept


def _item(item: object, index: int) -> object:
    if not isinstance(item, dict):
        return item
    if item.get("type") == "item_reference":
        raise _nothing_is_kept(f"input[{index}]")
    kept = {"type": "message", **without(item, OF_ITEM)}
    for name in ("content", "output"):
        if isinstance(parts := kept.get(name), list):
            kept = {**kept, name: [_part(part) for part in parts]}
    return kept


def _part(part: object) -> object:
    return without(part, OF_PART) if isinstance(part, dict) else part


def _tool(tool: object, index: int) -> object:
    if not isinstance(tool, dict):
        return tool
    if tool.get("type", "function") not in RUN_BY_CLIENTS:
        place, kind = f"tools[{index}].type", printable(str(tool["type"]))
        raise invalid(
            f"'{place}' is '{kind}'. Such a tool runs at a provider that keeps what it sees, and "
            "nothing is kept here: leave it out, or run a function of your own.",
            place,
            "unsupported_value",
        )
    kept = {"type": "function", **without(tool, dropped.OF_TOOL)}
    if isinstance(inner := kept.get("tools"), list):
        return {**kept, "tools": [_tool(each, index) for each in inner]}
    return kept


def _nothing_is_kept(place: str) -> ChatError:
    return invalid(
        f"'{place}' needs what is kept between requests, and nothing is kept here: set 'store' to "
        "false, and send the whole conversation in 'input'.",
        place,
        "unsupported_parameter",
    )
