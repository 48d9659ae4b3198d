"""What the errors of the Responses API become: the right status and blame, and none of its text."""

import json
from typing import Any

import pytest

from enclave_server.chat.dialects.openai_responses.faults import fault_in_answer, fault_in_stream
from enclave_server.chat.errors import Failure

SECRET = "of organization org-operator"


def nested(**members: Any) -> dict[str, Any]:
    return {"error": {"message": SECRET, **members}}


ANSWERS = {
    "an invalid member": (400, nested(param="input[2].content", code=None), Failure.REJECTED),
    "too long by its code": (400, nested(code="context_length_exceeded"), Failure.TOO_LONG),
    "too long by its text": (
        400,
        nested(message="This model's maximum context length is 4096 tokens"),
        Failure.TOO_LONG,
    ),
    "too large": (413, {}, Failure.TOO_LONG),
    "Azure's filter": (
        400,
        nested(code="content_filter", innererror={"content_filter_result": {}}),
        Failure.FILTERED,
    ),
    "a policy": (400, nested(code="content_policy_violation"), Failure.FILTERED),
    "an invalid prompt": (400, nested(code="invalid_prompt"), Failure.FILTERED),
    "OpenRouter's moderation": (
        403,
        nested(code=403, metadata={"reasons": ["x"], "flagged_input": "the prompt"}),
        Failure.FILTERED,
    ),
    "OpenRouter's refusal": (403, nested(code=403, metadata={}), Failure.REFUSED),
    "a refusal without more": (403, nested(code=403), Failure.REFUSED),
    "a key and reasons": (401, nested(code=401, metadata={"reasons": ["x"]}), Failure.REFUSED),
    "a key": (401, nested(code="invalid_api_key"), Failure.REFUSED),
    "a model that is not there": (404, nested(code="model_not_found"), Failure.NOT_SERVED),
    "a model that is not there, said by 400": (
        400,
        nested(code="model_not_found", param="model"),
        Failure.NOT_SERVED,
    ),
    "nothing at the path": (404, {"detail": "Not Found"}, Failure.NOT_SERVED),
    "a rate": (429, nested(code="rate_limit_exceeded"), Failure.LIMITED),
    "a quota": (429, nested(type="insufficient_quota", code=None), Failure.REFUSED),
    "a quota without money": (429, nested(code="billing_hard_limit_reached"), Failure.REFUSED),
    "a call that cannot be read": (400, nested(code="tool_use_failed"), Failure.TOOL_USE_FAILED),
    "xAI's text": (400, {"code": "x", "error": SECRET}, Failure.REJECTED),
    "flat, and too long": (400, {"message": "maximum context length is 9"}, Failure.TOO_LONG),
    "overloaded": (503, nested(), Failure.BUSY),
    "broken": (500, nested(code="server_error"), Failure.BROKEN),
    "slow": (504, {}, Failure.SLOW),
    "of another shape": (400, {"error": [SECRET]}, Failure.REJECTED),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers(case: str) -> None:
    status, body, failure = ANSWERS[case]
    error = fault_in_answer(status, (), json.dumps(body).encode())
    assert error.failure is failure
    assert SECRET not in error.encode().decode()


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 9999, b"null"])
def test_garbage_is_read_by_its_status(body: bytes) -> None:
    assert fault_in_answer(400, (), body).failure is Failure.REJECTED
    assert fault_in_stream(body).failure is Failure.BROKEN


@pytest.mark.parametrize(
    ("blamed", "told"),
    [
        ("input", "messages"),
        ("input[0].content[1].image_url", "messages"),
        ("max_output_tokens", "max_tokens"),
        ("text.format.schema", "response_format"),
        ("text.verbosity", "verbosity"),
        ("reasoning.effort", "reasoning_effort"),
        ("tools[0].parameters", "tools"),
        ("tool_choice", "tool_choice"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("top_logprobs", "top_logprobs"),
        ("parallel_tool_calls", "parallel_tool_calls"),
        ("input_of_org-operator", None),
        ("model", None),
        ("store", None),
        ("org-operator", None),
        (None, None),
    ],
)
def test_only_what_the_client_said_is_blamed(blamed: str | None, told: str | None) -> None:
    body = json.dumps(nested(param=blamed)).encode()
    assert fault_in_answer(400, (), body).param == told


def test_time_to_retry_is_passed_on() -> None:
    fields = ((b"retry-after", b"7"),)
    assert fault_in_answer(429, fields, b"").fields == ((b"retry-after", b"7"),)
    assert fault_in_answer(503, fields, b"").fields == ((b"retry-after", b"7"),)
    assert fault_in_answer(400, fields, b"").fields == ()


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"code": 503}, Failure.BUSY),
        ({"code": "429"}, Failure.LIMITED),
        ({"status_code": 400}, Failure.REJECTED),
        ({"code": "rate_limit_exceeded"}, Failure.LIMITED),
        ({"code": "server_is_overloaded"}, Failure.BUSY),
        ({"type": "rate_limit_error"}, Failure.LIMITED),
        ({"type": "overloaded_error"}, Failure.BUSY),
        ({"code": "overloaded"}, Failure.BUSY),
        ({"code": "slow_down"}, Failure.BUSY),
        ({"code": 400}, Failure.REJECTED),
        ({"code": "499"}, Failure.REFUSED),
        ({"code": "599"}, Failure.BROKEN),
        ({"code": "600", "type": "overloaded_error"}, Failure.BUSY),
        ({"type": "invalid_request_error", "code": None}, Failure.REJECTED),
        ({"code": "image_content_policy_violation"}, Failure.FILTERED),
        ({"code": "image_too_large"}, Failure.REJECTED),
        ({"code": "invalid_base64_image"}, Failure.REJECTED),
        ({"code": "failed_to_download_image"}, Failure.REJECTED),
        ({"code": "server_error"}, Failure.BROKEN),
        ({"code": "what is this"}, Failure.BROKEN),
        ("text", Failure.BROKEN),
    ],
    ids=str,
)
def test_errors_in_a_stream_are_read_by_number_and_word(error: object, failure: Failure) -> None:
    assert fault_in_stream(json.dumps(error).encode()).failure is failure
    assert (
        fault_in_stream(json.dumps({"type": "error", "error": error}).encode()).failure is failure
    )
