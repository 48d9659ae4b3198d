"""Errors in the words of each surface."""

import json
from typing import Any

import pytest

from oblivious_client.errors import (
    AnswerTruncated,
    ClientError,
    NoConnection,
    NoToken,
    ServiceError,
    TokenRefused,
)
from oblivious_client.local.messages import LocalRequest, LocalResponse
from oblivious_client.local.passing import Fault
from oblivious_client.local.refusals import (
    describe,
    fault_of,
    refuse,
    refuse_unpaid,
    refuse_unreadable,
)

CHAT = LocalRequest("POST", "/v1/chat/completions", ())
MESSAGES = LocalRequest("POST", "/v1/messages/", ())
VERSIONED = LocalRequest("GET", "/v1/models", ((b"anthropic-version", b"2023-06-01"),))


def told(response: LocalResponse) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    assert dict(response.fields)[b"content-type"] == b"application/json"
    found: dict[str, Any] = json.loads(response.body)
    return found


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "invalid_request_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (404, "not_found_error", "not_found_error"),
        (413, "invalid_request_error", "request_too_large"),
        (415, "invalid_request_error", "invalid_request_error"),
        (499, "invalid_request_error", "invalid_request_error"),
        (500, "oblivious_client_error", "api_error"),
        (502, "oblivious_client_error", "api_error"),
        (503, "oblivious_client_error", "overloaded_error"),
    ],
)
def test_each_status_has_the_types_of_the_makers(status: int, openai: str, anthropic: str) -> None:
    fault = Fault("what", "code")
    for head in (CHAT, None):
        response = refuse(head, status, fault)
        assert response.status == status
        error = {"message": "what", "type": openai, "param": None, "code": "code"}
        assert told(response) == {"error": error}
    for head in (MESSAGES, VERSIONED):
        error = {"type": anthropic, "message": "what"}
        assert told(refuse(head, status, fault)) == {"type": "error", "error": error}


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (NoToken("none left", advice="buy some"), "no_tokens"),
        (TokenRefused("no", advice="buy others"), "token_refused"),
    ],
)
def test_what_was_not_paid_for_is_not_to_be_asked_again(
    failure: NoToken | TokenRefused, code: str
) -> None:
    openai, anthropic = (refuse_unpaid(head, failure) for head in (CHAT, VERSIONED))
    for response in (openai, anthropic):
        assert response.status == 402
        assert (b"x-should-retry", b"false") in response.fields
        assert (b"cache-control", b"no-store") in response.fields
        assert describe(failure) in json.dumps(told(response))
    assert told(openai)["error"]["code"] == code
    error = told(anthropic)["error"]
    assert error["type"] == "billing_error"


def test_a_refusal_can_say_more() -> None:
    assert refuse(CHAT, 405, Fault("x"), ((b"allow", b"POST"),)).fields[-1] == (b"allow", b"POST")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "malformed"),
        (413, "request_too_large"),
        (418, "malformed"),
        (431, "head_too_large"),
        (501, "transfer_coding"),
    ],
)
def test_what_cannot_be_read_is_named(status: int, code: str) -> None:
    response = refuse_unreadable(status, CHAT)
    assert response.status == status
    assert told(response)["error"]["code"] == code
    assert told(refuse_unreadable(413, MESSAGES))["type"] == "error"


def test_a_failure_is_told_with_its_kind_and_code() -> None:
    served = ServiceError(500, "slow", advice="wait", kind="server_error", error_code="timeout")
    assert fault_of(served) == Fault(
        "the service answered 500: slow: wait", "timeout", "server_error"
    )
    assert fault_of(NoConnection("gone", advice="")) == Fault("gone", "no_connection")
    assert fault_of(AnswerTruncated()).code == "truncated"
    assert describe(ClientError("It ended.", advice="ask again")) == "It ended: ask again"
