"""What is of the wrong kind is told as what it is, at its place."""

from typing import Any

import pytest

from tests.support.chat_service import ask_nowhere, chat

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def with_call(call: object) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [CALL, call]}


@pytest.mark.parametrize(
    ("value", "kind"),
    [("hello", "str"), (None, "null"), (3, "int"), ([1], "array"), (True, "bool")],
)
def test_a_message_that_is_none(value: object, kind: str) -> None:
    answer, error = ask_nowhere(chat(messages=[{"role": "user", "content": "a"}, value]))
    assert (answer.status, error["param"]) == (400, "messages[1]")
    assert error["message"].endswith(f"Expected `object`, got `{kind}`.")


@pytest.mark.parametrize(
    ("value", "kind"), [("f", "str"), (None, "null"), (3, "int"), ([], "array")]
)
def test_a_call_that_is_none(value: object, kind: str) -> None:
    answer, error = ask_nowhere(chat(messages=[with_call(value)]))
    assert answer.status == 400
    assert error["param"] == "messages[0].tool_calls[1]"
    assert error["message"].endswith(f"got `{kind}`.")


@pytest.mark.parametrize("value", ["text", 3, {"role": "user"}])
def test_messages_that_are_no_list(value: object) -> None:
    answer, error = ask_nowhere(chat(messages=value))
    assert (answer.status, error["param"]) == (400, "messages")
    assert "Expected `array`" in error["message"]
