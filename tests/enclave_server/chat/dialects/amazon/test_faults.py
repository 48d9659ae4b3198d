"""Amazon's exceptions: the right status, the right blame, and never their text."""

import json

import pytest

from enclave_server.chat.dialects.amazon.faults import fault_in_answer, fault_in_stream
from enclave_server.chat.dialects.amazon.frames import Frame, FrameParser
from enclave_server.chat.errors import Failure, UpstreamError
from tests.support.amazon_frames import failure, frame

ANSWERS = {
    (400, "ValidationException", "1 validation error detected"): Failure.REJECTED,
    (400, "ValidationException", "Input is too long for requested model."): Failure.TOO_LONG,
    (400, "ValidationException", "prompt is too long: 9 tokens > 8 maximum"): Failure.TOO_LONG,
    (400, "ValidationException", "input length and `max_tokens` exceed context limit"): (
        Failure.TOO_LONG
    ),
    (400, "ValidationException", "The provided model identifier is invalid."): Failure.NOT_SERVED,
    (400, "ValidationException", "Invocation with on-demand throughput isn't supported."): (
        Failure.REFUSED
    ),
    (400, "ValidationException", "Output blocked by content filtering policy"): Failure.FILTERED,
    (400, "ServiceQuotaExceededException", "Quota."): Failure.REFUSED,
    (403, "AccessDeniedException", "User arn:aws:iam::1 is not authorized"): Failure.REFUSED,
    (403, "ExpiredTokenException", "expired"): Failure.REFUSED,
    (403, "UnrecognizedClientException", "The security token is invalid"): Failure.REFUSED,
    (404, "ResourceNotFoundException", "end of its life"): Failure.NOT_SERVED,
    (408, "ModelTimeoutException", "it was slow"): Failure.SLOW,
    (424, "ModelErrorException", "x failed"): Failure.BROKEN,
    (429, "ThrottlingException", "Too many tokens, please wait"): Failure.LIMITED,
    (429, "ModelNotReadyException", "not ready"): Failure.LIMITED,
    (500, "InternalServerException", "x"): Failure.BROKEN,
    (503, "ServiceUnavailableException", "x"): Failure.BUSY,
    (400, "SomethingNewException", "x"): Failure.REJECTED,
    (502, "", "x"): Failure.BROKEN,
}


def whole(status: int, name: str, message: str, *more: tuple[bytes, bytes]) -> UpstreamError:
    body = json.dumps({"message": message}).encode()
    named = (b"x-amzn-errortype", name.encode())
    return fault_in_answer(status, (named, *more), body)


@pytest.mark.parametrize(("status", "name", "message"), ANSWERS)
def test_exception_has_its_failure_and_keeps_its_text(status: int, name: str, message: str) -> None:
    error = whole(status, name, message)
    assert error.failure is ANSWERS[status, name, message]
    assert message not in error.message


def test_limit_of_the_answer_is_blamed() -> None:
    error = whole(400, "ValidationException", "The maximum tokens you requested exceeds the limit")
    assert (error.failure, error.param) == (Failure.REJECTED, "max_tokens")


@pytest.mark.parametrize(
    "name",
    [
        "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/",
        "com.amazon.coral.service#ThrottlingException",
        "throttlingException",
    ],
)
def test_names_are_read_in_all_their_forms(name: str) -> None:
    assert whole(400, name, "x").failure is Failure.LIMITED
    body = json.dumps({"__type": name, "Message": "x"}).encode()
    assert fault_in_answer(400, (), body).failure is Failure.LIMITED


def test_text_in_the_other_spelling_is_read() -> None:
    body = b'{"Message":"Input is too long"}'
    assert fault_in_answer(400, (), body).failure is Failure.TOO_LONG


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"message":1}', b"[" * 5000])
def test_garbage_leaves_the_status(body: bytes) -> None:
    assert fault_in_answer(429, (), body).failure is Failure.LIMITED


def test_time_to_retry_is_passed_on() -> None:
    error = whole(429, "ThrottlingException", "x", (b"retry-after", b"7"))
    assert (b"retry-after", b"7") in error.fields


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("internalServerException", Failure.BROKEN),
        ("modelStreamErrorException", Failure.BROKEN),
        ("modelTimeoutException", Failure.SLOW),
        ("serviceUnavailableException", Failure.BUSY),
        ("throttlingException", Failure.LIMITED),
        ("validationException", Failure.REJECTED),
        ("somethingNewException", Failure.BROKEN),
    ],
)
def test_exceptions_in_a_stream(name: str, expected: Failure) -> None:
    (sent,) = FrameParser().feed(failure(name))
    assert fault_in_stream(sent).failure is expected


def test_errors_in_a_stream() -> None:
    headers = {":message-type": "error", ":error-code": "ThrottlingError"}
    (sent,) = FrameParser().feed(frame(headers, b""))
    assert fault_in_stream(sent).failure is Failure.LIMITED
    assert fault_in_stream(Frame({}, b"\xff")).failure is Failure.BROKEN
