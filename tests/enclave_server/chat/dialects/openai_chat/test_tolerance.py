"""Answers in odd shapes: each is put into the usual one, and what is no answer stays none."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.dialects.openai_chat.answers import ChatAnswer, ChatChunk
from enclave_server.chat.dialects.openai_chat.tolerance import messages, usual


def said(**message: Any) -> dict[str, Any]:
    """Return what is read of the one message of an answer."""
    (choice,) = usual({"choices": [{"message": message}]})["choices"]
    read: dict[str, Any] = choice["message"]
    return read


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, {"type": "text"}]}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "a"}, {"content": "a"}),
        ({"content": None, "role": None, "tool_calls": None}, {}),
        ({"reasoning": "b"}, {"reasoning_content": "b"}),
        ({"reasoning": "b", "reasoning_content": ""}, {"reasoning_content": "b"}),
        ({"reasoning": {"effort": "low"}}, {}),
        (
            {"content": [THINKING, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"content": "ab", "reasoning_content": "Hm"},
        ),
        ({"content": [{"type": "thinking", "thinking": "Hm"}]}, {"reasoning_content": "Hm"}),
        ({"content": [5, {"type": "image"}]}, {}),
    ],
)
def test_what_is_said_and_thought(message: dict[str, Any], expected: dict[str, Any]) -> None:
    assert said(**message) == expected


def test_calls_with_objects_for_arguments_and_without_numbers() -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": [1]}}}, {"index": 3, "id": "x"}, None]
    first, second, third = said(tool_calls=calls)["tool_calls"]
    assert first["function"] == {"name": "f", "arguments": '{"a":[1]}'}
    assert (first["index"], second["index"], second["id"]) == (-1, 3, "x")
    assert third["function"] == {"name": "", "arguments": ""}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 5, "completion_tokens": None}, {"prompt_tokens": 5}),
        ({"completion_tokens": 2.0}, {"prompt_tokens": 0, "completion_tokens": 2}),
        (
            {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 4}},
            {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 4}},
        ),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": 0}, {"prompt_tokens": 0}),
        ({"total_tokens": (1 << 53) - 1}, {"prompt_tokens": 0, "total_tokens": (1 << 53) - 1}),
        ({"total_tokens": 1 << 53}, None),
        ({"prompt_tokens": "5"}, None),
    ],
)
def test_counts_of_tokens(usage: Any, expected: Any) -> None:
    assert usual({"usage": usage})["usage"] == expected
    assert usual({"x_groq": {"usage": usage}})["x_groq"]["usage"] == expected


def test_a_filter_may_leave_nothing_but_the_end() -> None:
    filtered = usual({"choices": [{"finish_reason": "content_filter", "index": None}]})
    assert msgspec.convert(filtered, ChatAnswer).choices[0].finish_reason == "content_filter"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(usual({"choices": [{}]}), ChatAnswer)


def test_choices_that_are_not_numbered_are_numbered_by_their_place() -> None:
    choices = [{"text": "a", "logprobs": {}}, {"index": 7, "text": None}, {"delta": {}}]
    read = usual({"choices": choices})["choices"]
    assert [choice["index"] for choice in read] == [0, 7, 2]
    assert [choice["text"] for choice in read] == ["a", "", ""]
    assert [choice["logprobs"] for choice in read] == [{}, None, None]
    assert read[2]["message"] == read[2]["delta"] == {}
    assert usual({"choices": {"0": {}}})["choices"] == []


def test_messages_stand_in_the_order_of_the_choices() -> None:
    answer = {"choices": [{"message": {"a": 1}}, {"delta": {"b": 1}}, {"delta": None}, 5]}
    assert messages(answer) == [{"a": 1}, {"b": 1}, {}, {}]
    assert len(usual(answer)["choices"]) == 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["choices", "message", "delta", "content", "tool_calls", "function", "arguments", "usage"]
)
ODD = st.recursive(
    JSON,
    lambda inner: st.dictionaries(NAMES | st.just("x_groq"), inner) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, ODD))
def test_any_object_is_an_answer_or_none(answer: dict[str, Any]) -> None:
    plain = usual(answer)
    for kind in (ChatAnswer, ChatChunk):
        with contextlib.suppress(msgspec.ValidationError):
            msgspec.convert(plain, kind)
