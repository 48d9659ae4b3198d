"""Arguments become the object that they say, or are refused where they stand."""

import pytest

from enclave_server.chat.conversation import ToolCall
from enclave_server.chat.dialects.called_arguments import arguments_of
from enclave_server.chat.errors import ChatError


@pytest.mark.parametrize(
    ("text", "arguments"),
    [('{"b": 1, "a": [null]}', {"b": 1, "a": [None]}), ("{}", {}), ("", {}), (" \n", {})],
)
def test_arguments_are_an_object(text: str, arguments: object) -> None:
    assert arguments_of(ToolCall(0, "f", text), "x") == arguments


@pytest.mark.parametrize("text", ["[]", "null", "{", "text", "{}{}", "\ud800", '{"a":' * 9999])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ChatError) as caught:
        arguments_of(ToolCall(0, "f", text), "messages[2].tool_calls[1]")
    assert caught.value.status == 400
    assert caught.value.param == "messages[2].tool_calls[1].function.arguments"
