"""Ranges of fields, as OpenAI documents them: the ends are taken, and nothing beyond."""

from typing import Any

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.chat_shapes import ChatRequest
from enclave_server.chat.surfaces.completions import CompletionRequest
from enclave_server.chat.surfaces.shapes import Request, convert

TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TEXT = {"type": "text", "text": "x"}
INT32, INT64 = 2**31, 2**63

Ranges = dict[str, tuple[list[Any], list[Any]]]
"""Of each field what is taken, and what is not."""


def asked(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", **fields}


ANY: Ranges = {
    "model": (["x", "x" * 256], ["", "x" * 257]),
    "temperature": ([0, 2], [-0.5, 2.5]),
    "top_p": ([0, 1], [-0.5, 1.5]),
    "presence_penalty": ([-2, 2], [-2.5, 2.5]),
    "frequency_penalty": ([-2, 2], [-2.5, 2.5]),
    "n": ([1, 128], [0, 129]),
    "seed": ([-INT64, INT64 - 1], [-INT64 - 1, INT64]),
    "stop": (["", ["x"], ["x"] * 16], [[], ["x"] * 17]),
    "logit_bias": (
        [{"5": -100}, {"5": 100}, {"1" * 10: 0}, {}],
        [{"5": -100.5}, {"5": 100.5}, {"1" * 11: 0}, {"": 0}],
    ),
}
CHAT: Ranges = {
    "max_tokens": ([1, INT32 - 1], [0, INT32]),
    "max_completion_tokens": ([1, INT32 - 1], [0, INT32]),
    "top_logprobs": ([0, 20], [-1, 21]),
    "tools": ([[TOOL], [TOOL] * 128], [[], [TOOL] * 129]),
    "modalities": ([["text"]], [[], ["text", "text"]]),
    "messages": (
        [
            [asked(tool_calls=[CALL])],
            [asked(tool_calls=[CALL] * 128)],
            *([{"role": role, "content": [TEXT]}] for role in ("system", "developer", "user")),
            [asked(content=[TEXT])],
        ],
        [
            [],
            [asked(tool_calls=[])],
            [asked(tool_calls=[CALL] * 129)],
            *([{"role": role, "content": []}] for role in ("system", "developer", "user")),
            [asked(content=[])],
        ],
    ),
}
PROMPT: Ranges = {
    "prompt": ([[0], [INT32 - 1], [[0, INT32 - 1]], ["x"]], [[], [-1], [INT32], [[INT32]]]),
    "max_tokens": ([0, INT32 - 1], [-1, INT32]),
    "best_of": ([1, 128], [0, 129]),
    "logprobs": ([0, 5], [-1, 6]),
}
KINDS: dict[type[Request], Ranges] = {Request: ANY, ChatRequest: CHAT, CompletionRequest: PROMPT}
CASES = [
    (kind, name, value, good)
    for kind, ranges in KINDS.items()
    for name, values in ranges.items()
    for good, each in zip((True, False), values, strict=True)
    for value in each
]
LEAST: dict[type[Request], dict[str, Any]] = {
    Request: {"model": "m"},
    ChatRequest: {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    CompletionRequest: {"model": "m", "prompt": "x"},
}


@pytest.mark.parametrize(("kind", "name", "value", "good"), CASES)
def test_the_ends_of_a_range_are_taken_and_nothing_beyond(
    kind: type[Request], name: str, value: Any, good: bool
) -> None:
    fields = {**LEAST[kind], name: value}
    if good:
        assert getattr(convert(fields, kind), name) is not None
        return
    with pytest.raises(ChatError) as caught:
        convert(fields, kind)
    assert (caught.value.status, caught.value.code) == (400, "invalid_value")


@pytest.mark.parametrize(
    ("fields", "stream", "usage"),
    [
        ({}, False, False),
        ({"stream": False}, False, False),
        ({"stream": True}, True, False),
        ({"stream": True, "stream_options": {}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True),
    ],
)
def test_a_stream_and_its_count_are_given_to_who_asks(
    fields: dict[str, Any], stream: bool, usage: bool
) -> None:
    question = convert({"model": "m", **fields}, Request).question()
    assert (question["stream"], question["usage"]) == (stream, usage)
