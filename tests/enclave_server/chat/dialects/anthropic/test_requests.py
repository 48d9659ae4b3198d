"""The members of Anthropic's requests, each by what asks for it."""

import json
from typing import Any

import msgspec
import pytest

from enclave_server.chat.conversation import AnyObject, AnyText, Conversation, ObjectOf, Tool
from enclave_server.chat.dialects.anthropic.requests import OUTPUT_LIMIT, write_body
from enclave_server.chat.errors import ChatError
from tests.support.conversations import HARMLESS, SCHEMA, TOOLS, asked, cases, model

PLAIN = {
    "max_tokens": OUTPUT_LIMIT,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
}
THINKING = {"type": "adaptive", "display": "summarized"}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
WRITTEN_TOOLS = [
    {
        "name": "rain",
        "description": "Whether it rains.",
        "input_schema": SCHEMA,
        "strict": True,
    },
    {"name": "now", "input_schema": {"type": "object", "properties": {}}},
]


def body(question: Conversation, **changes: Any) -> dict[str, Any]:
    return write_body(question, model(**changes))


def refusal(question: Conversation, **changes: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        body(question, **changes)
    assert caught.value.status == 400
    return caught.value


ADDED: dict[str, dict[str, Any]] = {
    "text": {},
    "tools": {"tools": WRITTEN_TOOLS},
    "one call": {
        "tools": WRITTEN_TOOLS,
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    "some call": {"tools": WRITTEN_TOOLS, "tool_choice": {"type": "any"}},
    "a named call": {"tools": WRITTEN_TOOLS, "tool_choice": {"type": "tool", "name": "now"}},
    "no call": {"tools": WRITTEN_TOOLS, "tool_choice": {"type": "none"}},
    "an object": {"output_config": {"format": FORMAT}},
    "effort": {
        "max_tokens": 20000,
        "thinking": THINKING,
        "output_config": {"effort": "high"},
    },
    "effort and an object": {
        "max_tokens": 2000,
        "thinking": THINKING,
        "output_config": {"effort": "low", "format": FORMAT},
    },
    "no effort": {"thinking": {"type": "disabled"}},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "top_k": 3},
    "stops": {"stop_sequences": ["END", "\n\nQ"]},
    "a stop": {"stop_sequences": ["END"]},
    "a limit": {"max_tokens": 9},
}


@pytest.mark.parametrize("case", ADDED)
def test_members_of_a_request(case: str) -> None:
    assert body(cases("anthropic")[case]) == PLAIN | ADDED[case]


def test_every_case_is_looked_at() -> None:
    of_messages = {"instructions", "later instructions", "an image", "a document"}
    assert cases("anthropic").keys() == ADDED.keys() | of_messages | {"calls and results"}


def test_what_asks_for_nothing_changes_no_octet() -> None:
    assert json.dumps(body(asked(**HARMLESS, response_format=AnyText()))) == json.dumps(PLAIN)
    unsaid = asked(tools=TOOLS)
    said = asked(tools=TOOLS, tool_choice="auto", parallel_tool_calls=True)
    assert json.dumps(body(said)) == json.dumps(body(unsaid))


def test_choice_of_no_call_needs_no_word_on_their_number() -> None:
    none = asked(tools=TOOLS, tool_choice="none", parallel_tool_calls=False)
    assert body(none)["tool_choice"] == {"type": "none"}


def test_tools_that_are_not_strict_are_not_called_so() -> None:
    (tool,) = body(asked(tools=[Tool("f", "", {}, strict=False)]))["tools"]
    assert tool == {"name": "f", "input_schema": {"type": "object", "properties": {}}}


def test_configuration_is_what_is_said_beside() -> None:
    said = body(asked(), limit=7, retention={"inference_geo": "eu"})
    assert said == PLAIN | {"max_tokens": 7, "inference_geo": "eu"}


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"temperature": 1.5}, "temperature"),
        ({"stop": " \n"}, "stop"),
        ({"stop": ["END", ""]}, "stop"),
        ({"sampling": {"min_p": 0.1}}, "min_p"),
        ({"response_format": AnyObject()}, "response_format"),
        ({"response_format": ObjectOf("s")}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    ],
)
def test_what_cannot_be_said_is_named(wishes: dict[str, Any], param: str) -> None:
    assert refusal(asked(**wishes)).param == param


def test_every_member_of_the_neutral_form_is_looked_at() -> None:
    looked_at = {
        *("model", "messages", "stream", "usage", "stop", "sampling"),
        *("max_tokens", "max_completion_tokens", "temperature", "top_p"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"),
        *("n", "seed", "logit_bias", "logprobs", "top_logprobs", "verbosity"),
        *("presence_penalty", "frequency_penalty", "modalities"),
    }
    assert {field.name for field in msgspec.structs.fields(Conversation)} == looked_at
