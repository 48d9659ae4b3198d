"""What programs send out of habit leaves no trace, at any place of a request."""

from typing import Any

import pytest

from enclave_server.chat.surfaces import dropped
from enclave_server.chat.surfaces.chat_stripping import plain_fields

PLAIN: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {
            "role": "assistant",
            "content": "b",
            "tool_calls": [
                {"type": "function", "id": "x", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "x", "content": ""},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}}],
}


def habits(value: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {**dict.fromkeys(sorted(names), "ada"), **value, "null": None}


def test_habits_are_dropped_at_each_place() -> None:
    user, assistant, tool = PLAIN["messages"]
    (part,), (call,), (given,) = user["content"], assistant["tool_calls"], PLAIN["tools"]
    odd_call = habits(call, dropped.OF_CALL)
    odd_call["function"] = habits(call["function"], dropped.OF_CALL)
    odd_tool = habits(given, dropped.OF_TOOL)
    odd_tool["function"] = habits(given["function"], dropped.OF_TOOL)
    odd = {
        **habits(PLAIN, dropped.OF_REQUEST),
        "messages": [
            habits({**user, "content": [habits(part, dropped.OF_PART)]}, dropped.OF_MESSAGE),
            habits({**assistant, "tool_calls": [odd_call]}, dropped.OF_MESSAGE),
            habits({**tool, "content": None}, dropped.OF_MESSAGE),
        ],
        "tools": [odd_tool],
        "stop": [],
        "logit_bias": {},
        "functions": [],
    }
    assert plain_fields(odd) == PLAIN


@pytest.mark.parametrize("odd", [7, "x", [1]])
def test_what_has_another_shape_is_left_to_be_refused(odd: object) -> None:
    message = {"role": "assistant", "content": [odd], "tool_calls": [odd]}
    fields = {"messages": [odd, message], "tools": [odd]}
    assert plain_fields(fields) == fields


def test_a_call_is_of_the_one_type_there_is() -> None:
    call = {"id": "x", "function": {"name": "f", "arguments": "{}"}}
    (message,) = plain_fields({"messages": [{"tool_calls": [call]}]})["messages"]
    assert message["tool_calls"][0]["type"] == "function"


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        ({"tool_choice": "none"}, {}),
        ({"parallel_tool_calls": False}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tool_choice": {"type": "function"}}, {"tool_choice": {"type": "function"}}),
        ({"tools": [1], "tool_choice": "auto"}, {"tools": [1], "tool_choice": "auto"}),
    ],
)
def test_a_choice_among_no_tools_is_none(fields: dict[str, Any], left: dict[str, Any]) -> None:
    assert plain_fields(fields) == left


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ({"reasoning": "a"}, {"reasoning_content": "a"}),
        ({"reasoning": "a", "reasoning_content": "b"}, {"reasoning_content": "b"}),
        ({"reasoning": {"effort": "low"}, "reasoning_content": ""}, {}),
        ({"content": []}, {}),
    ],
)
def test_reasoning_has_one_name_and_nothing_is_no_content(
    message: dict[str, Any], left: dict[str, Any]
) -> None:
    said = {"role": "assistant", **message}
    assert plain_fields({"messages": [said]})["messages"] == [{"role": "assistant", **left}]


def test_reasoning_is_the_assistant_s_alone() -> None:
    said = {"role": "user", "content": "a", "reasoning": "b"}
    assert plain_fields({"messages": [said]})["messages"] == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("part", "left"),
    [
        ({"image_url": "data:x"}, {"image_url": {"url": "data:x"}}),
        ({"image_url": {"url": "u", "format": "png"}}, {"image_url": {"url": "u"}}),
        ({"file": {"file_data": "d", "filename": "ada.pdf"}}, {"file": {"file_data": "d"}}),
    ],
)
def test_what_a_file_is_called_is_dropped(part: dict[str, Any], left: dict[str, Any]) -> None:
    (message,) = plain_fields({"messages": [{"role": "user", "content": [part]}]})["messages"]
    assert message["content"] == [left]


@pytest.mark.parametrize(
    "messages", ["x", 5, [5, None, "x"], [{"content": [5]}], [{"tool_calls": [5], "role": []}]]
)
def test_what_has_another_shape_is_left_to_the_shapes(messages: Any) -> None:
    assert plain_fields({"messages": messages}) == {"messages": messages}
