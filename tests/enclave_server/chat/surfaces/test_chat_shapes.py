"""Requests that must be refused, each with its inner status and the field that is wrong."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.strict_json import MAX_DEPTH
from enclave_server.chat.surfaces.chat_shapes import ChatRequest
from tests.support.chat_service import HELLO, ask_nowhere, chat

IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="
TOOL = {"type": "function", "function": {"name": "f"}}


def message(**fields: Any) -> dict[str, Any]:
    return chat(messages=[fields])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def schema_of_depth(depth: int) -> dict[str, Any]:
    parameters = {"x": nested(depth)}
    return chat(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])


WRONG = {
    "no model": ({"messages": HELLO}, "model"),
    "model of wrong type": ({"model": 5, "messages": HELLO}, "model"),
    "empty model": ({"model": "", "messages": HELLO}, "model"),
    "no messages": ({"model": "m"}, "messages"),
    "empty messages": (chat(messages=[]), "messages"),
    "messages of wrong type": (chat(messages="Hello"), "messages"),
    "null messages": (chat(messages=None), "messages"),
    "message of wrong type": (chat(messages=["Hello"]), "messages[0]"),
    "message without a role": (message(content="x"), "messages[0].role"),
    "unknown role": (message(role="wizard", content="x"), "messages[0].role"),
    "role of wrong type": (message(role=1, content="x"), "messages[0].role"),
    "user without content": (message(role="user"), "messages[0].content"),
    "content of wrong type": (message(role="user", content=7), "messages[0].content"),
    "empty content parts": (message(role="user", content=[]), "messages[0].content"),
    "unknown part": (
        message(role="user", content=[{"type": "input_audio"}]),
        "messages[0].content[0].type",
    ),
    "image of the server's own files": (
        message(
            role="user", content=[{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]
        ),
        "messages[0].content[0].image_url.url",
    ),
    "unknown field in a message": (
        message(role="user", content="x", colour=1),
        "messages[0].colour",
    ),
    "result of no call": (
        message(role="tool", content="x", tool_call_id="call_1"),
        "messages[0].tool_call_id",
    ),
    "unknown field": (chat(web_search_options={}), "web_search_options"),
    "temperature too high": (chat(temperature=2.5), "temperature"),
    "temperature of wrong type": (chat(temperature="hot"), "temperature"),
    "temperature is a truth value": (chat(temperature=True), "temperature"),
    "top_p too high": (chat(top_p=1.5), "top_p"),
    "n is zero": (chat(n=0), "n"),
    "n too high": (chat(n=129), "n"),
    "max_tokens is zero": (chat(max_tokens=0), "max_tokens"),
    "max_tokens of wrong type": (chat(max_tokens=1.5), "max_tokens"),
    "max_completion_tokens enormous": (chat(max_completion_tokens=10**30), "max_completion_tokens"),
    "seed too large": (chat(seed=2**63), "seed"),
    "too many stops": (chat(stop=["x"] * 17), "stop"),
    "stop of wrong type": (chat(stop=5), "stop"),
    "logit_bias too strong": (chat(logit_bias={"5": 101}), "logit_bias[...]"),
    "logit_bias of a word": (chat(logit_bias={"word": 1}), "logit_bias"),
    "top_logprobs too many": (chat(logprobs=True, top_logprobs=21), "top_logprobs"),
    "choice among no tools": (chat(tools=[], tool_choice="required"), "tool_choice"),
    "tool of unknown type": (chat(tools=[{"type": "web_search"}]), "tools[0].type"),
    "function with a strange name": (
        chat(tools=[{"type": "function", "function": {"name": "f g"}}]),
        "tools[0].function.name",
    ),
    "tool_choice of unknown kind": (chat(tool_choice="maybe"), "tool_choice"),
    "response_format unknown": (
        chat(response_format={"type": "yaml"}),
        "response_format.type",
    ),
    "modalities with sound": (chat(modalities=["audio"]), "modalities[0]"),
    "stream of wrong type": (chat(stream="yes"), "stream"),
    "stream_options without a stream": (
        chat(stream_options={"include_usage": True}),
        "stream_options",
    ),
    "unknown stream option": (
        chat(stream=True, stream_options={"x": 1}),
        "stream_options.x",
    ),
    "stream without the chunked media type": (chat(stream=True), "stream"),
    "tools for a model that has none": (chat(model="plain", tools=[TOOL]), "tools"),
    "image for a model that sees none": (
        {
            "model": "plain",
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}],
                }
            ],
        },
        "messages",
    ),
    "more choices than the model gives": (chat(model="plain", n=3), "n"),
    "nested too deep": (schema_of_depth(MAX_DEPTH), None),
    "not an object": ([1], None),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request_is_refused_and_the_field_named(case: str) -> None:
    body, param = WRONG[case]
    answer, error = ask_nowhere(body)
    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param is None or param.split("[")[0].split(".")[0] in error["message"]


def test_unknown_field_of_any_length_is_cut_in_the_answer() -> None:
    answer, error = ask_nowhere(chat(**{"x" * 100_000: 1}))
    assert answer.status == 400
    assert error["param"] == "x" * 64
    assert len(answer.content) < 1000


def test_everything_that_is_allowed_reaches_the_upstream(tmp_path: Path) -> None:
    """The widest request there is passes every check."""
    body = chat(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": IMAGE}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ],
        temperature=1,
        top_p=1,
        n=1,
        stop=["x"],
        max_tokens=5,
        max_completion_tokens=5,
        presence_penalty=0,
        frequency_penalty=-2,
        seed=-1,
        logit_bias={"50256": -100},
        logprobs=True,
        top_logprobs=2,
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True},
        },
        reasoning_effort="low",
        verbosity="low",
        modalities=["text"],
        stream=False,
    )
    answer, error = ask_nowhere(body)
    assert (answer.status, error["code"]) == (503, "upstream_unavailable")


def test_schema_within_the_limit_is_accepted() -> None:
    answer, _ = ask_nowhere(schema_of_depth(MAX_DEPTH - 10))
    assert answer.status == 503


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
FIELDS = sorted(ChatRequest.__struct_fields__)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), VALUES, max_size=5))
def test_any_json_gets_a_status_of_its_own(fields: dict[str, Any]) -> None:
    body = {"messages": HELLO, **fields, "model": "other"}
    answer, error = ask_nowhere(body)
    assert answer.status in (400, 404)
    assert error["message"]


@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), VALUES)))
def test_any_messages_get_a_status_of_their_own(messages: list[Any]) -> None:
    answer, _ = ask_nowhere({"messages": messages, "model": "other"})
    assert answer.status in (400, 404)
