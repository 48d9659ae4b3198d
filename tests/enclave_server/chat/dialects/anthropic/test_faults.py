"""Anthropic's errors: the right status, the right blame, and never their text."""

import json

import pytest

from enclave_server.chat.dialects.anthropic.faults import Fault, fault_in_answer, fault_in_stream
from enclave_server.chat.errors import Failure, UpstreamError

INVALID = "invalid_request_error"

ANSWERS = {
    (400, INVALID, "messages.0.content: Input should be a list"): Failure.REJECTED,
    (400, INVALID, "prompt is too long: 205351 tokens > 200000 maximum"): Failure.TOO_LONG,
    (400, INVALID, "input length and `max_tokens` exceed context limit: 9 + 9 > 9"): (
        Failure.TOO_LONG
    ),
    (400, INVALID, "Your credit balance is too low to access the API."): Failure.REFUSED,
    (400, INVALID, "You have reached your specified API usage limits."): Failure.REFUSED,
    (400, INVALID, "Output blocked by content filtering policy"): Failure.FILTERED,
    (401, "authentication_error", "invalid x-api-key"): Failure.REFUSED,
    (402, "billing_error", "x"): Failure.REFUSED,
    (403, "permission_error", "x"): Failure.REFUSED,
    (404, "not_found_error", "model: claude-0"): Failure.NOT_SERVED,
    (413, "request_too_large", "x"): Failure.TOO_LONG,
    (429, "rate_limit_error", "x"): Failure.LIMITED,
    (500, "api_error", "x"): Failure.BROKEN,
    (504, "timeout_error", "x"): Failure.SLOW,
    (529, "overloaded_error", "x"): Failure.BUSY,
    (500, "overloaded_error", "x"): Failure.BUSY,
    (422, "something_new", "x"): Failure.REJECTED,
    (418, "", "x"): Failure.REFUSED,
}


def whole(status: int, kind: str, message: str, *fields: tuple[bytes, bytes]) -> UpstreamError:
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return fault_in_answer(status, fields, json.dumps(error).encode())


@pytest.mark.parametrize(("status", "kind", "message"), ANSWERS)
def test_error_has_its_failure_and_keeps_its_text(status: int, kind: str, message: str) -> None:
    error = whole(status, kind, message)
    assert error.failure is ANSWERS[status, kind, message]
    assert message == "x" or message not in error.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("messages.1.content.0: no", "messages"),
        ("messages: at least one message is required", "messages"),
        ("max_tokens: 9 > 8, which is the maximum", "max_tokens"),
        ("`temperature` is deprecated for this model", "temperature"),
        ("stop_sequences: each has to show something", "stop"),
        ("tools.0.custom.input_schema.type: Field required", "tools"),
        ("tool_choice: no", "tool_choice"),
        ("thinking.enabled.budget_tokens: no", "reasoning_effort"),
        ("This model does not support effort level 'xhigh'.", "reasoning_effort"),
        ("output_config.effort: no", "reasoning_effort"),
        ("output_config.format.schema: no", "response_format"),
        ("metadata.user_id: no", None),
        ("organization_7: no", None),
        ("", None),
        ("\u00fc", None),
    ],
)
def test_only_what_was_asked_is_blamed(message: str, param: str | None) -> None:
    error = whole(400, INVALID, message)
    assert (error.failure, error.param) == (Failure.REJECTED, param)


@pytest.mark.parametrize("status", [429, 529])
def test_time_to_retry_is_passed_on(status: int) -> None:
    assert (b"retry-after", b"7") in whole(status, "", "x", (b"retry-after", b"7")).fields


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"{}", b'{"error":"text"}', b'{"error":{"type":1}}', b"[" * 5000]
)
def test_garbage_leaves_the_status(body: bytes) -> None:
    assert fault_in_answer(529, (), body).failure is Failure.BUSY


def test_errors_in_a_stream_are_read_by_their_type() -> None:
    assert fault_in_stream(Fault("rate_limit_error")).failure is Failure.LIMITED
    assert fault_in_stream(Fault(INVALID, "prompt is too long: 9")).failure is Failure.TOO_LONG
    assert fault_in_stream(Fault()).failure is Failure.BROKEN
