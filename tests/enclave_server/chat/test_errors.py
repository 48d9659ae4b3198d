"""Error objects: OpenAI's members, the gateway's own words."""

import json

import pytest

from enclave_server.chat.errors import ChatError, Failure, UpstreamError, invalid


def test_an_error_object_has_four_members() -> None:
    response = ChatError(
        418, "No.", kind="t", param="p", code="c", fields=((b"a", b"b"),)
    ).response()
    assert response.status == 418
    assert response.headers == ((b"content-type", b"application/json"), (b"a", b"b"))
    assert json.loads(response.content) == {
        "error": {"message": "No.", "type": "t", "param": "p", "code": "c"}
    }


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_status_a_code_and_a_sentence(failure: Failure) -> None:
    error = UpstreamError(failure, retry_after=7)
    assert error.status in (400, 404, 429, 502, 503, 504)
    assert error.code
    assert error.message.endswith(".")
    assert (b"retry-after", b"7") in error.response().headers


@pytest.mark.parametrize("own", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("theirs", ["max_tokens", "max_completion_tokens"])
def test_a_limit_is_called_as_its_client_calls_it(own: str, theirs: str) -> None:
    error = invalid(f"'{theirs}' is too much.", theirs)
    error.name_limit(own)
    assert (error.param, error.message) == (own, f"'{own}' is too much.")
    error.name_limit(None)
    assert error.param == own


def test_nothing_else_is_called_otherwise() -> None:
    error = invalid("'n' is more than 'max_tokens'.", "n")
    error.name_limit("max_completion_tokens")
    assert (error.param, error.message) == ("n", "'n' is more than 'max_tokens'.")


def test_codes_tell_failures_apart() -> None:
    assert len({UpstreamError(failure).code for failure in Failure}) == len(Failure)


def test_what_is_wrong_with_a_request_is_the_client_s_fault() -> None:
    error = invalid("No.", "p", "c")
    assert (error.status, error.kind) == (400, "invalid_request_error")
