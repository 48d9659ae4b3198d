"""The shape of a Messages request: what is of another type or unknown is refused by its name."""

from typing import Any

import anthropic.types as sdk
import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming

from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces import messages_shapes as shapes
from enclave_server.chat.surfaces.messages_shapes import MessagesRequest
from enclave_server.chat.surfaces.messages_stripping import (
    OF_BLOCK,
    OF_REQUEST,
    OF_TEXT,
    OF_THINKING,
    OF_TOOL,
)
from enclave_server.chat.surfaces.shapes import convert

PLAIN: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hello"}],
}


def user(*blocks: Any) -> dict[str, Any]:
    return PLAIN | {"messages": [{"role": "user", "content": list(blocks)}]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no limit": ({"model": "m", "messages": PLAIN["messages"]}, "max_tokens"),
    "no messages": (PLAIN | {"messages": []}, "messages"),
    "an unknown field": (PLAIN | {"new_thing": 1}, "new_thing"),
    "servers of tools": (PLAIN | {"mcp_servers": [{}]}, "mcp_servers"),
    "much heat": (PLAIN | {"temperature": 1.5}, "temperature"),
    "many stops": (PLAIN | {"stop_sequences": ["x"] * 17}, "stop_sequences"),
    "an unknown role": (PLAIN | {"messages": [{"role": "tool", "content": "x"}]}, "messages"),
    "an unknown block": (user({"type": "container_upload", "file_id": "f"}), "messages"),
    "a file elsewhere": (
        user({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        "messages",
    ),
    "an image in a local file": (
        user({"type": "image", "source": {"type": "url", "url": "file:///x"}}),
        "messages",
    ),
    "a document with a context": (
        user({"type": "document", "source": {"type": "text", "data": "x"}, "context": "y"}),
        "messages",
    ),
    "a call by the user": (
        user({"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        "messages",
    ),
    "an unknown way to think": (PLAIN | {"thinking": {"type": "between_tools"}}, "thinking"),
    "an unknown effort": (PLAIN | {"output_config": {"effort": "minimal"}}, "output_config"),
    "examples for a tool": (
        PLAIN | {"tools": [{"name": "f", "input_schema": {}, "input_examples": [{}]}]},
        "tools",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_of_another_shape_is_named(case: str) -> None:
    fields, param = REFUSED[case]
    with pytest.raises(ChatError) as caught:
        convert(fields, MessagesRequest)
    assert caught.value.status == 400
    assert (caught.value.param or "").startswith(param)


def test_plainest_request_is_taken() -> None:
    assert convert(PLAIN, MessagesRequest).max_tokens == 5


# Of each type of the SDK: the shape that reads it, what is dropped of it, and what is refused.
NOTHING: frozenset[str] = frozenset()
TYPES: list[tuple[Any, Any, frozenset[str], frozenset[str]]] = [
    (MessageCreateParamsStreaming, MessagesRequest, OF_REQUEST, NOTHING),
    (sdk.TextBlockParam, shapes.TextBlock, OF_BLOCK | OF_TEXT, NOTHING),
    (sdk.ImageBlockParam, shapes.ImageBlock, OF_BLOCK, frozenset({"transformations"})),
    (sdk.DocumentBlockParam, shapes.DocumentBlock, OF_BLOCK, frozenset({"citations", "context"})),
    (sdk.ToolUseBlockParam, shapes.ToolUseBlock, OF_BLOCK, frozenset({"toolset_name"})),
    (sdk.ToolResultBlockParam, shapes.ToolResultBlock, OF_BLOCK, frozenset({"toolset_name"})),
    (sdk.ThinkingBlockParam, shapes.ThinkingBlock, NOTHING, NOTHING),
    (sdk.RedactedThinkingBlockParam, shapes.RedactedThinkingBlock, NOTHING, NOTHING),
    (
        sdk.ToolParam,
        shapes.Tool,
        OF_TOOL,
        frozenset({"allowed_callers", "defer_loading", "input_examples"}),
    ),
    (sdk.ToolChoiceToolParam, shapes.Chosen, NOTHING, NOTHING),
    (sdk.ThinkingConfigEnabledParam, shapes.Enabled, OF_THINKING, NOTHING),
    (sdk.ThinkingConfigAdaptiveParam, shapes.Adaptive, OF_THINKING, NOTHING),
    (sdk.OutputConfigParam, shapes.OutputConfig, NOTHING, NOTHING),
    (sdk.JSONOutputFormatParam, shapes.JsonFormat, NOTHING, NOTHING),
]


@pytest.mark.parametrize(("kind", "shape", "dropped", "refused"), TYPES, ids=lambda v: str(v)[-30:])
def test_every_field_of_the_sdk_is_read_or_dropped_or_refused(
    kind: Any, shape: Any, dropped: frozenset[str], refused: frozenset[str]
) -> None:
    read = {*shape.__struct_fields__, "type"}
    assert not read & (dropped | refused)
    assert not dropped & refused
    assert {*kind.__annotations__} - read == {*kind.__annotations__} & dropped | refused
