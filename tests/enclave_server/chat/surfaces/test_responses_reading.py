"""Items and wishes become a conversation: the same one as over chat completions."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import (
    AnyObject,
    AnyText,
    Conversation,
    File,
    Image,
    Message,
    ObjectOf,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolNamed,
)
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_responses.requests import write_request
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.responses_reading import read_request
from tests.support.upstream_connection import upstream_at

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA"
NO_JPEG = PNG.replace("png", "jpeg")
PDF = "JVBERi0xLjcKJcTl8uXr"
TOOL: dict[str, Any] = {"type": "function", "name": "f", "strict": False}


def read(asked: object = "Hello", **members: Any) -> Conversation:
    return read_request({"model": "m", "input": asked, **members})


def refused(asked: object = "Hello", **members: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        read(asked, **members)
    assert caught.value.status == 400
    return caught.value


def test_text_is_what_a_user_says() -> None:
    assert read() == Conversation(model="m", messages=[Message("user", "Hello")])
    assert read(instructions="Be brief.").messages == [
        Message("system", "Be brief."),
        Message("user", "Hello"),
    ]


def test_items() -> None:
    items = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_file", "filename": "mine.pdf", "file_data": PDF},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "."}], "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "I look.", "annotations": []},
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_text", "text": "Rain"}],
        },
        {"role": "assistant", "content": "Wet."},
    ]
    assert read(items).messages == [
        Message("developer", [Text("Be kind.")]),
        Message("user", [Image(PNG, "low"), File(PDF)]),
        Message(
            "assistant",
            [Text("I look."), Refusal("No.")],
            calls=[ToolCall(0, "f", "{}")],
            reasoning="Hm.",
        ),
        Message("tool", [Text("Rain")], result_of=0),
        Message("assistant", "Wet."),
    ]


WISHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a limit": ({"max_output_tokens": 9}, {"max_completion_tokens": 9}),
    "temperature": ({"temperature": -0.0, "top_p": 1}, {"temperature": 0.0, "top_p": 1.0}),
    "sampling": ({"top_k": 3}, {"sampling": {"top_k": 3}}),
    "likelihoods": (
        {"include": ["message.output_text.logprobs"]},
        {"logprobs": True},
    ),
    "the likely": ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    "what is given anyway": (
        {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "detailed"}},
        {},
    ),
    "effort": ({"reasoning": {"effort": "max"}}, {"reasoning_effort": "max"}),
    "text": ({"text": {"format": {"type": "text"}}}, {"response_format": AnyText()}),
    "an object": (
        {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
        {"response_format": AnyObject(), "verbosity": "low"},
    ),
    "an object of a schema": (
        {"text": {"format": {"type": "json_schema", "name": "s", "schema": {}, "strict": True}}},
        {"response_format": ObjectOf("s", None, {}, strict=True)},
    ),
    "tools": (
        {"tools": [TOOL | {"description": "does", "parameters": {}}], "tool_choice": "required"},
        {"tools": [Tool("f", "does", {}, strict=False)], "tool_choice": "required"},
    ),
    "one tool": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}},
        {"tools": [Tool("f", strict=False)], "tool_choice": ToolNamed("f")},
    ),
    "some tools": (
        {
            "tools": [TOOL, TOOL | {"name": "g"}],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "g"}],
            },
            "parallel_tool_calls": False,
        },
        {
            "tools": [Tool("g", strict=False)],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
        },
    ),
    "functions in a namespace": (
        {
            "tools": [
                {
                    "type": "namespace",
                    "name": "agents",
                    "description": "Of agents.",
                    "tools": [TOOL | {"description": "does"}, TOOL | {"name": "g"}],
                },
                TOOL,
            ]
        },
        {
            "tools": [
                Tool("agents__ns__f", "Of agents.\n\ndoes", strict=False),
                Tool("agents__ns__g", strict=False),
                Tool("f", strict=False),
            ]
        },
    ),
    "a stream, which ends with its count": ({"stream": True}, {"stream": True, "usage": True}),
}


@pytest.mark.parametrize("case", WISHES)
def test_wishes(case: str) -> None:
    members, expected = WISHES[case]
    assert read(**members) == Conversation(
        model="m", messages=[Message("user", "Hello")], **expected
    )


REFUSED: dict[str, tuple[object, dict[str, Any], str]] = {
    "an image that the model says": (
        [{"role": "assistant", "content": [{"type": "input_image", "image_url": PNG}]}],
        {},
        "input[0].content[0].type",
    ),
    "no image": (
        [{"role": "user", "content": [{"type": "input_image", "image_url": NO_JPEG}]}],
        {},
        "input[0].content[0].image_url",
    ),
    "no document": (
        [{"role": "user", "content": [{"type": "input_file", "file_data": "AAAAAAAAAAAAAAAA"}]}],
        {},
        "input[0].content[0].file_data",
    ),
    "a result of no call": (
        [{"type": "function_call_output", "call_id": "c", "output": "x"}],
        {},
        "input[0].call_id",
    ),
    "a name that could be another": (
        "Hello",
        {"tools": [{"type": "namespace", "name": "n", "tools": [TOOL | {"name": "a__ns__b"}]}]},
        "tools[0].tools[0].name",
    ),
    "a choice of no tool": (
        "Hello",
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}},
        "tool_choice",
    ),
    "a choice among what is no tool": (
        "Hello",
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": name} for name in ("f", "g")],
            },
        },
        "tool_choice",
    ),
    "a choice among none": ("Hello", {"tool_choice": "required"}, "tool_choice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_where_it_stands(case: str) -> None:
    asked, members, param = REFUSED[case]
    assert refused(asked, **members).param == param


def test_call_of_a_function_in_a_namespace_has_its_one_name() -> None:
    called = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    (message,) = read([called | {"namespace": "agents"}]).messages
    assert message.calls == [ToolCall(0, "agents__ns__f", "{}")]


def test_same_prompt_leaves_the_same_octets_over_either_surface() -> None:
    model = Model("m", upstream_at("unix:/x"), "there")
    chat = {
        "model": "m",
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "tools": [{"type": "function", "function": {"name": "f", "strict": False}}],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [
                    {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "x", "content": "Rain"},
        ],
    }
    items = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "y", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "y", "output": "Rain"},
    ]
    ours = read(
        items,
        instructions="Be brief.",
        max_output_tokens=9,
        reasoning={"effort": "low"},
        tools=[TOOL],
        prompt_cache_key="whose",
    )
    theirs = ChatCompletions().read(json.dumps(chat).encode())
    assert write_request(ours, model, Account()) == write_request(theirs, model, Account())
