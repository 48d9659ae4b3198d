"""The members of Converse's requests, each by what asks for it."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import (
    AnyObject,
    Conversation,
    Message,
    ObjectOf,
    Tool,
)
from enclave_server.chat.dialects.bedrock.requests import write_body
from enclave_server.chat.errors import ChatError
from tests.support.conversations import HARMLESS, HELLO, RESULTS, SCHEMA, TOOLS, asked, cases, model

CLAUDE = "eu.anthropic.claude-x-v1:0"
PLAIN = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
WRITTEN_TOOLS = [
    {
        "toolSpec": {
            "name": "rain",
            "description": "Whether it rains.",
            "inputSchema": {"json": SCHEMA},
            "strict": True,
        }
    },
    {
        "toolSpec": {
            "name": "now",
            "inputSchema": {"json": {"type": "object", "properties": {}}},
        }
    },
]
THINKING = {"type": "adaptive", "display": "summarized"}


def object_of(schema: dict[str, Any], **described: str) -> dict[str, Any]:
    written = json.dumps(schema, separators=(",", ":"))
    structure = {"jsonSchema": {"schema": written, "name": "s", **described}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


def body(question: Conversation, name: str = CLAUDE, **changes: Any) -> dict[str, Any]:
    return write_body(question, model(name, **changes))


def refusal(question: Conversation, name: str = CLAUDE, **changes: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        body(question, name, **changes)
    assert caught.value.status == 400
    return caught.value


ADDED: dict[str, dict[str, Any]] = {
    "text": {},
    "tools": {"toolConfig": {"tools": WRITTEN_TOOLS}},
    "one call": {
        "toolConfig": {"tools": WRITTEN_TOOLS},
        "additionalModelRequestFields": {
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}
        },
    },
    "some call": {"toolConfig": {"tools": WRITTEN_TOOLS, "toolChoice": {"any": {}}}},
    "a named call": {
        "toolConfig": {"tools": WRITTEN_TOOLS, "toolChoice": {"tool": {"name": "now"}}}
    },
    "no call": {},
    "an object": {"outputConfig": object_of(SCHEMA, description="An object.")},
    "effort": {
        "inferenceConfig": {"maxTokens": 20000},
        "additionalModelRequestFields": {
            "thinking": THINKING,
            "output_config": {"effort": "high"},
        },
    },
    "effort and an object": {
        "inferenceConfig": {"maxTokens": 2000},
        "outputConfig": object_of(SCHEMA),
        "additionalModelRequestFields": {
            "thinking": THINKING,
            "output_config": {"effort": "low"},
        },
    },
    "no effort": {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}},
    "sampling": {
        "inferenceConfig": {"temperature": 0.5, "topP": 0.9},
        "additionalModelRequestFields": {"top_k": 3},
    },
    "stops": {"inferenceConfig": {"stopSequences": ["END", "\n\nQ"]}},
    "a stop": {"inferenceConfig": {"stopSequences": ["END"]}},
    "a limit": {"inferenceConfig": {"maxTokens": 9}},
}


@pytest.mark.parametrize("case", ADDED)
def test_members_of_a_request(case: str) -> None:
    assert body(cases("bedrock")[case]) == PLAIN | ADDED[case]


def test_every_case_is_looked_at() -> None:
    of_messages = {"instructions", "later instructions", "an image", "a document"}
    assert cases("bedrock").keys() == ADDED.keys() | of_messages | {"calls and results"}


def test_what_asks_for_nothing_changes_no_octet() -> None:
    assert json.dumps(body(asked(**HARMLESS))) == json.dumps(PLAIN)


def test_configuration_is_what_is_said_beside() -> None:
    said = body(asked(), limit=7, retention={"serviceTier": {"type": "default"}})
    assert said == PLAIN | {
        "inferenceConfig": {"maxTokens": 7},
        "serviceTier": {"type": "default"},
    }


def test_older_models_are_told_a_budget() -> None:
    said = body(asked(reasoning_effort="low", max_tokens=2000), thinking="budget")
    assert said["additionalModelRequestFields"] == {
        "thinking": {"type": "enabled", "budget_tokens": 1024}
    }


def test_where_nobody_says_a_limit_a_budget_fits_the_usual_one() -> None:
    said = body(asked(reasoning_effort="low"), thinking="budget")
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert said == PLAIN | {"additionalModelRequestFields": {"thinking": thinking}}
    with pytest.raises(ChatError) as caught:
        body(asked(reasoning_effort="high"), thinking="budget")
    assert caught.value.param == "max_completion_tokens"


def test_other_models_are_told_an_effort_in_converses_word() -> None:
    said = body(asked(reasoning_effort="low"), "openai.gpt-oss-120b-1:0")
    assert said == PLAIN | {"outputConfig": {"effort": "low"}}


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"reasoning_effort": "none"}, "reasoning_effort"),
        ({"tools": TOOLS, "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"sampling": {"top_k": 3}}, "top_k"),
    ],
)
def test_other_models_lack_anthropics_words(wishes: dict[str, Any], param: str) -> None:
    assert refusal(asked(**wishes), "amazon.nova-lite-v1:0").param == param


def test_no_call_can_be_asked_for_only_before_the_first() -> None:
    called = [HELLO, Message("assistant", calls=cases("x")["calls and results"].messages[1].calls)]
    error = refusal(asked(*called, *RESULTS, tools=TOOLS, tool_choice="none"))
    assert (error.param, error.code) == ("tool_choice", "unsupported_value")


def test_tools_that_are_not_strict_are_not_called_so() -> None:
    (tool,) = body(asked(tools=[Tool("f", "", {}, strict=False)]))["toolConfig"]["tools"]
    schema = {"json": {"type": "object", "properties": {}}}
    assert tool == {"toolSpec": {"name": "f", "inputSchema": schema}}


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"temperature": 1.5}, "temperature"),
        ({"stop": " \n"}, "stop"),
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
