"""Whole answers of Anthropic's API."""

import json
from typing import Any

import msgspec
import pytest

from enclave_server.chat.conversation import Answer, Usage, UsageDetails
from enclave_server.chat.dialects.anthropic.answers import REASONS, Tokens, read_answer
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.thoughts import CALL as CALLED
from enclave_server.chat.thoughts import Hidden, Thought, decode_pieces
from tests.support.anthropic_messages import (
    CALL,
    CONTENTS,
    HIDDEN,
    OTHER_CALL,
    TEXT,
    THOUGHT,
    message,
)

SAID, WHY = TEXT["text"], THOUGHT["thinking"]
CALLS = [("toolu_1", "rain", '{"place":"Rome","hours":[1.5,2]}'), ("toolu_2", "now", "{}")]

Meaning = tuple[str | None, str | None, list[tuple[str, str, str]], str]

MEANINGS: dict[str, Meaning] = {
    "text": (SAID, None, [], "stop"),
    "a stop": (SAID, None, [], "stop"),
    "a limit": (SAID, None, [], "length"),
    "the end of the context": (SAID, None, [], "length"),
    "thought and text": (SAID, WHY, [], "stop"),
    "hidden thought": (SAID, None, [], "stop"),
    "thoughts between": (SAID + SAID, WHY, [], "stop"),
    "calls": (SAID, None, CALLS, "tool_calls"),
    "thought and calls": (None, WHY, CALLS, "tool_calls"),
    "a refusal": ("", None, [], "content_filter"),
    "a refusal after text": (SAID, None, [], "content_filter"),
    "an unknown block": (SAID, None, [], "stop"),
}


def meaning(answer: Answer) -> Meaning:
    (choice,) = answer.choices
    reply = choice.message
    calls = [
        (call.id, call.function.name, call.function.arguments) for call in reply.tool_calls or ()
    ]
    return reply.content, reply.reasoning_content or None, calls, choice.finish_reason or ""


def whole(*content: dict[str, Any], reason: str | None = "end_turn", **changes: Any) -> Answer:
    return read_answer(json.dumps(message(list(content), reason, **changes)).encode())


@pytest.mark.parametrize("case", CONTENTS)
def test_answer_means_what_it_says(case: str) -> None:
    reason, content = CONTENTS[case]
    answer = whole(*content, reason=reason)
    assert meaning(answer) == MEANINGS[case]
    assert answer.usage == Usage(123, 40, 163, UsageDetails(7))


def test_thoughts_come_back_in_their_places() -> None:
    (part,) = whole(HIDDEN, TEXT, THOUGHT, CALL, OTHER_CALL, reason="tool_use").states
    assert part.state.dialect == "anthropic"
    assert decode_pieces(part.state.value) == [
        Hidden("aGlk"),
        len(SAID),
        Thought(WHY, "c2ln"),
        CALLED,
        CALLED,
    ]


def test_nothing_that_identifies_is_kept() -> None:
    content = msgspec.json.encode(whole(TEXT))
    assert b"msg_1" not in content
    assert b"claude-x" not in content


def test_tokens_are_counted_as_far_as_they_are_told() -> None:
    assert whole(TEXT, usage=None).usage is None
    assert whole(TEXT, usage={"input_tokens": 1, "output_tokens": 2}).usage == Usage(1, 2, 3)
    assert Tokens(cache_read_input_tokens=3).usage() == Usage(3, 0, 3)
    assert Tokens(cache_creation_input_tokens=3).usage() == Usage(3, 0, 3)
    assert Tokens(output_tokens=3).usage() == Usage(0, 3, 3)


def test_later_counts_are_of_all_before_them() -> None:
    tokens = Tokens(input_tokens=1, output_tokens=2)
    tokens.update(Tokens(output_tokens=5))
    tokens.update(None)
    assert tokens.usage() == Usage(1, 5, 6)


def test_reason_may_be_left_out() -> None:
    assert whole(TEXT, reason=None).choices[0].finish_reason == "stop"


BROKEN: dict[str, tuple[bytes, Failure]] = {
    "nothing": (b"", Failure.BROKEN),
    "no text": (b"\xff", Failure.BROKEN),
    "no object": (b"[]", Failure.BROKEN),
    "no content": (b"{}", Failure.BROKEN),
    "content that is no list": (b'{"content":"x"}', Failure.BROKEN),
    "deep nesting": (b'{"content":' + b"[" * 100_000, Failure.BROKEN),
    "a turn that should go on": (
        json.dumps(message([TEXT], "pause_turn")).encode(),
        Failure.BROKEN,
    ),
    "another model": (json.dumps(message([{"type": "fallback"}], None)).encode(), Failure.BROKEN),
    "arguments that are a list": (
        json.dumps(message([CALL | {"input": []}], "tool_use")).encode(),
        Failure.TOOL_USE_FAILED,
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_answer_is_a_failure(case: str) -> None:
    body, failure = BROKEN[case]
    with pytest.raises(UpstreamError) as caught:
        read_answer(body)
    assert caught.value.failure is failure


def test_every_reason_is_one_of_chat_completions() -> None:
    assert {*REASONS.values()} == {"stop", "tool_calls", "length", "content_filter"}
