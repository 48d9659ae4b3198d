"""The shape of a Messages request: what is of another type or unknown is refused by its name."""

from typing import Any

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.messages_shapes import MessagesRequest
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
