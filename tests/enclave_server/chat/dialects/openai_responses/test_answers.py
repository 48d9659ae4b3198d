"""What whole answers of the Responses API mean."""

import json
from typing import Any

import msgspec
import pytest

from enclave_server.chat.dialects.openai_responses.answers import read_answer
from enclave_server.chat.dialects.openai_responses.keepsakes import NAME
from enclave_server.chat.errors import Failure, UpstreamError
from tests.support.meanings import meaning_of
from tests.support.responses_server import (
    USAGE,
    call,
    message,
    reasoning,
    refusal,
    response,
    text,
)

Json = dict[str, Any]


def read(answer: Json) -> Json:
    return meaning_of(read_answer(json.dumps(answer).encode()))


def choice_of(answer: Json) -> Json:
    choice: Json = read(answer)["choices"][0]
    return choice


SAID: dict[str, tuple[Json, Json]] = {
    "text": (response(message(text("We"), text("t."))), {"content": "Wet."}),
    "text of a server that has no parts": (
        {"output": [{"type": "message", "content": "Wet."}]},
        {"content": "Wet."},
    ),
    "a refusal": (response(message(refusal("No."))), {"refusal": "No.", "finish": "stop"}),
    "calls": (
        response(call("f", '{"a":1}'), call("g", "", 2)),
        {"calls": [("f", {"a": 1}), ("g", {})], "finish": "tool_calls"},
    ),
    "reasoning as it is": (response(reasoning("Short", thought="Long")), {"reasoning": "Long"}),
    "reasoning retold": (response(reasoning("One", "Two")), {"reasoning": "One\n\nTwo"}),
    "an item that was not asked for": (
        {"output": [message(text("Wet.")), {"type": "web_search_call", "action": {}}]},
        {"content": "Wet.", "finish": "stop"},
    ),
    "nothing": (response(), {"content": "", "finish": "stop"}),
    "no status": ({"output": []}, {"finish": "stop"}),
    "a limit amid a call": (
        response(
            call("f", "{}"),
            status="incomplete",
            incomplete_details={"reason": "max_output_tokens"},
        ),
        {"calls": [("f", {})], "finish": "length"},
    ),
    "a filter": (
        response(status="incomplete", incomplete_details={"reason": "content_filter"}),
        {"content": "", "finish": "content_filter"},
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said(case: str) -> None:
    answer, expected = SAID[case]
    assert expected.items() <= choice_of(answer).items()


def test_what_is_not_said_is_null_or_absent() -> None:
    (choice,) = read_answer(json.dumps(response(call("f", "{}"))).encode()).choices
    assert msgspec.to_builtins(choice.message).keys() == {
        "role",
        "content",
        "refusal",
        "tool_calls",
    }
    assert choice.message.content is None
    assert choice.message.refusal is None


def test_call_is_known_by_its_identifier_or_by_its_items() -> None:
    items = [call("f", "{}", 7), {"type": "function_call", "id": "fc_8", "name": "g"}]
    (choice,) = read_answer(json.dumps({"output": items}).encode()).choices
    assert [each.id for each in choice.message.tool_calls or ()] == ["call_7", "fc_8"]


def test_tokens_are_counted_without_what_was_cached() -> None:
    assert read(response())["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "completion_tokens_details": {"reasoning_tokens": 5},
    }


def test_encrypted_reasoning_is_kept_with_the_order_of_what_it_belongs_to() -> None:
    thought = reasoning("Why", encrypted_content="AB==", status="completed")
    states = read(response(thought, message(text("Hm."), phase="commentary"), call("f", "{}")))
    ((place, (dialect, value)),) = states["states"].items()
    assert (place, dialect) == ((0, None), NAME)
    assert json.loads(value) == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "encrypted_content": "AB==",
            "summary": [{"type": "summary_text", "text": "Why"}],
        },
        {"type": "message", "phase": "commentary"},
        {"type": "function_call"},
    ]


def test_nothing_is_kept_of_what_the_client_has_anyway() -> None:
    assert read(response(reasoning("Why"), message(text("Wet."))))["states"] == {}


FAILURES = {
    "an error": ({"error": {"code": "insufficient_quota", "message": "x"}}, Failure.REFUSED),
    "an error beside an answer": (
        response(error={"code": "rate_limit_exceeded", "message": "x"}),
        Failure.LIMITED,
    ),
    "an answer that has not ended": (response(status="in_progress"), Failure.BROKEN),
    "an answer that somebody stopped": (response(status="cancelled"), Failure.BROKEN),
    "no end for any reason": (response(status="incomplete"), Failure.BROKEN),
    "no output": ({"status": "completed"}, Failure.BROKEN),
    "a call without a name": ({"output": [{"type": "function_call"}]}, Failure.BROKEN),
    "another type of output": ({"output": "Wet."}, Failure.BROKEN),
    "another dialect": ({"choices": []}, Failure.BROKEN),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_is_no_answer_is_a_failure(case: str) -> None:
    answer, failure = FAILURES[case]
    with pytest.raises(UpstreamError) as caught:
        read(answer)
    assert caught.value.failure is failure


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 9999])
def test_garbage_is_a_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        read_answer(body)


def test_counts_without_details_are_read() -> None:
    bare = {name: USAGE[name] for name in ("input_tokens", "output_tokens")}
    assert read({"output": [], "usage": bare})["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
    }
    assert read({"output": [], "usage": {}})["usage"] is None
