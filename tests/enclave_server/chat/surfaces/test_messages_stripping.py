"""What of a Messages request is dropped in silence, and the tools that are not."""

from typing import Any

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.messages_stripping import OF_REQUEST, plain_fields

CACHED = {"cache_control": {"type": "ephemeral"}}


def test_marks_and_identifiers_are_dropped_at_any_place() -> None:
    fields: dict[str, Any] = {
        "model": "m",
        **dict.fromkeys(OF_REQUEST, "somebody"),
        "system": [{"type": "text", "text": "s", **CACHED}],
        "tools": [
            {
                "name": "f",
                "input_schema": {},
                "eager_input_streaming": True,
                "strict": None,
                **CACHED,
            }
        ],
        "thinking": {"type": "adaptive", "display": "omitted"},
        "messages": [
            {
                "role": "assistant",
                "id": "msg_1",
                "model": "m",
                "stop_reason": "end_turn",
                "content": [
                    {"type": "text", "text": "a", "citations": None},
                    {"type": "text", "text": "b", "citations": [{"cited_text": "x"}]},
                    {"type": "tool_use", "id": "t", "caller": {"type": "direct"}, **CACHED},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [{"type": "text", "text": "r", **CACHED}],
                    },
                    {"type": "document", "title": "a name", "citations": {"enabled": True}},
                ],
            },
        ],
    }
    assert plain_fields(fields) == {
        "model": "m",
        "system": [{"type": "text", "text": "s"}],
        "tools": [{"name": "f", "input_schema": {}}],
        "thinking": {"type": "adaptive"},
        "messages": [
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "text", "text": "b"},
                    {"type": "tool_use", "id": "t"},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [{"type": "text", "text": "r"}],
                    },
                    # Citations of a document are asked for: whoever reads it refuses them.
                    {"type": "document", "citations": {"enabled": True}},
                ],
            },
        ],
    }


def test_empty_lists_of_habit_are_dropped() -> None:
    assert plain_fields({"tools": [], "stop_sequences": [], "mcp_servers": []}) == {}


@pytest.mark.parametrize("odd", ["x", 1, ["x"], {"content": 1}, None])
def test_what_is_of_another_shape_is_left_to_whoever_reads_it(odd: Any) -> None:
    for name in ("messages", "system", "tools"):
        plain_fields({name: odd})
        plain_fields({name: [odd]})


def test_tools_at_the_provider_are_refused_by_their_place() -> None:
    tools = [{"name": "f", "type": "custom"}, {"type": "web_search_20250305", "name": "web_search"}]
    with pytest.raises(ChatError) as caught:
        plain_fields({"tools": tools})
    assert caught.value.param == "tools[1].type"
