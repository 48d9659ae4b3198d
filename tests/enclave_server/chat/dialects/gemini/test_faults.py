"""What Google's errors become: the right status and blame, and none of their text."""

import json
from typing import Any

import pytest

from enclave_server.chat.dialects.gemini.faults import fault_in_answer, fault_in_stream
from enclave_server.chat.errors import Failure

SECRET = "of project operators-own-473"


def error(code: int, status: str, *details: Any, message: str = SECRET) -> dict[str, Any]:
    said = {"code": code, "message": message, "status": status, "details": [*details]}
    return {"error": said}


INFO = "type.googleapis.com/google.rpc.ErrorInfo"
RETRY = "type.googleapis.com/google.rpc.RetryInfo"
BAD = "type.googleapis.com/google.rpc.BadRequest"

ANSWERS = {
    "an invalid member": (400, error(400, "INVALID_ARGUMENT"), Failure.REJECTED),
    "too many tokens": (
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            message="The input token count (1200000) exceeds the maximum number of tokens "
            "allowed (1048576).",
        ),
        Failure.TOO_LONG,
    ),
    "too large": (413, {}, Failure.TOO_LONG),
    "a wrong key": (
        400,
        error(400, "INVALID_ARGUMENT", {"@type": INFO, "reason": "API_KEY_INVALID"}),
        Failure.REFUSED,
    ),
    "a wrong key, told by the text": (
        400,
        error(400, "INVALID_ARGUMENT", message="API key not valid. Please pass a valid API key."),
        Failure.REFUSED,
    ),
    "a country or a bill": (400, error(400, "FAILED_PRECONDITION"), Failure.REFUSED),
    "a token that ended": (401, error(401, "UNAUTHENTICATED"), Failure.REFUSED),
    "no permission": (403, error(403, "PERMISSION_DENIED"), Failure.REFUSED),
    "a model that is not there": (404, error(404, "NOT_FOUND"), Failure.NOT_SERVED),
    "a quota": (429, error(429, "RESOURCE_EXHAUSTED"), Failure.LIMITED),
    "broken": (500, error(500, "INTERNAL"), Failure.BROKEN),
    "overloaded": (503, error(503, "UNAVAILABLE"), Failure.BUSY),
    "slow": (504, error(504, "DEADLINE_EXCEEDED"), Failure.SLOW),
    "in a list": (400, [error(400, "FAILED_PRECONDITION")], Failure.REFUSED),
    "an empty list": (400, [], Failure.REJECTED),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers(case: str) -> None:
    status, body, failure = ANSWERS[case]
    told = fault_in_answer(status, (), json.dumps(body).encode())
    assert told.failure is failure
    assert SECRET not in told.encode().decode()


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        ("INVALID_ARGUMENT", Failure.REJECTED),
        ("FAILED_PRECONDITION", Failure.REFUSED),
        ("OUT_OF_RANGE", Failure.REJECTED),
        ("UNAUTHENTICATED", Failure.REFUSED),
        ("PERMISSION_DENIED", Failure.REFUSED),
        ("NOT_FOUND", Failure.NOT_SERVED),
        ("RESOURCE_EXHAUSTED", Failure.LIMITED),
        ("INTERNAL", Failure.BROKEN),
        ("UNAVAILABLE", Failure.BUSY),
        ("DEADLINE_EXCEEDED", Failure.SLOW),
        ("SOMETHING_NEW", Failure.BROKEN),
        (None, Failure.BROKEN),
    ],
)
def test_each_status_of_a_stream_has_its_meaning(status: str | None, failure: Failure) -> None:
    assert fault_in_stream(json.dumps({"status": status}).encode()).failure is failure
    told = fault_in_stream(json.dumps({"status": status, "code": 429}).encode())
    assert told.failure is Failure.LIMITED


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 9999, b'{"error":"x"}'])
def test_garbage_is_read_by_its_status(body: bytes) -> None:
    assert fault_in_answer(400, (), body).failure is Failure.REJECTED
    assert fault_in_stream(body).failure is Failure.BROKEN


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("34.4s", 35),
        ("7s", 7),
        ("0.000000001s", 1),
        ("86400s", 86400),
        ("86400.1s", None),
        ("-1s", None),
        ("soon", None),
        ("9999999s", None),
        (None, None),
    ],
)
def test_time_to_retry_stands_in_the_body(delay: str | None, seconds: int | None) -> None:
    body = error(429, "RESOURCE_EXHAUSTED", {"@type": INFO}, {"@type": RETRY, "retryDelay": delay})
    fields = fault_in_answer(429, (), json.dumps(body).encode()).fields
    assert fields == (() if seconds is None else ((b"retry-after", b"%d" % seconds),))


def test_time_to_retry_in_a_field_comes_first() -> None:
    body = error(503, "UNAVAILABLE", {"@type": RETRY, "retryDelay": "7s"})
    told = fault_in_answer(503, ((b"retry-after", b"9"),), json.dumps(body).encode())
    assert told.fields == ((b"retry-after", b"9"),)


@pytest.mark.parametrize(
    ("blamed", "told"),
    [
        ("contents[0].parts[1]", "messages"),
        ("system_instruction", "messages"),
        ("systemInstruction.parts", "messages"),
        ("tools[0].function_declarations[1].name", "tools"),
        ("tool_config", "tool_choice"),
        ("generation_config.response_json_schema", "response_format"),
        ("generation_config.max_output_tokens", "max_tokens"),
        ("generationConfig.thinkingConfig.thinkingLevel", "reasoning_effort"),
        ("generation_config.stop_sequences", "stop"),
        ("generation_config.logprobs", "top_logprobs"),
        ("generation_config.response_logprobs", "logprobs"),
        ("contentsofoperator", None),
        ("labels", None),
        (None, None),
    ],
)
def test_only_what_the_client_said_is_blamed(blamed: str | None, told: str | None) -> None:
    body = error(400, "INVALID_ARGUMENT", {"@type": BAD, "fieldViolations": [{"field": blamed}]})
    assert fault_in_answer(400, (), json.dumps(body).encode()).param == told


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ({"code": 503}, Failure.BUSY),
        ({"status": "UNAVAILABLE"}, Failure.BUSY),
        ({"status": "RESOURCE_EXHAUSTED"}, Failure.LIMITED),
        ({"status": "INVALID_ARGUMENT"}, Failure.REJECTED),
        ({"status": "FAILED_PRECONDITION"}, Failure.REFUSED),
        ({"status": "OUT_OF_RANGE"}, Failure.REJECTED),
        ({"status": "PERMISSION_DENIED"}, Failure.REFUSED),
        ({"status": "UNAUTHENTICATED"}, Failure.REFUSED),
        ({"status": "DEADLINE_EXCEEDED"}, Failure.SLOW),
        ({"status": "NOT_FOUND"}, Failure.NOT_SERVED),
        ({"status": "INTERNAL"}, Failure.BROKEN),
        ({}, Failure.BROKEN),
    ],
    ids=str,
)
def test_errors_in_a_stream_are_read_by_number_and_word(said: Any, failure: Failure) -> None:
    assert fault_in_stream(json.dumps(said).encode()).failure is failure
