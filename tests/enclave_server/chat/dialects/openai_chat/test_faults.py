"""What the errors of OpenAI-compatible upstreams become, and what of them may be told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.dialects.openai_chat.faults import (
    BLAMABLE,
    fault_if_flat,
    fault_in_answer,
    fault_in_event,
    fault_in_stream,
)
from enclave_server.chat.dialects.openai_chat.members import CHAT_MEMBERS, TEXT_MEMBERS
from enclave_server.chat.errors import Failure


def test_all_that_is_sent_may_be_blamed_but_the_name_of_the_model() -> None:
    assert {*CHAT_MEMBERS, *TEXT_MEMBERS} - BLAMABLE == {"model"}
    assert {"messages", "prompt", "temperature", "best_of", "tools"} <= BLAMABLE


@pytest.mark.parametrize("code", [399, 400, 503, 600])
def test_a_status_in_an_error_counts_if_it_is_one(code: int) -> None:
    fault = fault_in_stream(json.dumps({"message": "no", "code": code}).encode())
    told = {400: Failure.REJECTED, 503: Failure.BUSY}
    assert fault.failure is told.get(code, Failure.BROKEN)


@pytest.mark.parametrize(
    ("blamed", "told"),
    [
        ("best_of", "best_of"),
        ("messages[0].role", "messages"),
        ("model", None),
        ("org-operator", None),
        ("messagesorg", None),
    ],
)
def test_only_what_was_sent_is_blamed(blamed: str, told: str | None) -> None:
    body = json.dumps({"error": {"message": "no", "param": blamed}}).encode()
    assert fault_in_answer(400, (), body).param == told


def coded(code: object, **more: object) -> dict[str, Any]:
    return {"error": {"message": "No.", "type": "invalid_request_error", "code": code, **more}}


def texted(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


FLAGGED = coded(403, metadata={"reasons": ["x"], "flagged_input": "a secret"})
LONG = "This model's maximum context length is 4096 tokens."
DETAIL = {"detail": [{"type": "extra_forbidden", "loc": ["body", "logprobs"], "msg": "no"}]}
KEY = {"error": {"code": 400, "message": "No.", "details": [{"reason": "API_KEY_INVALID"}]}}

FAULTS: dict[str, tuple[int, object, Failure]] = {
    "too long, by code": (400, coded("context_length_exceeded"), Failure.TOO_LONG),
    "too long, in llama.cpp's word": (
        400,
        {"error": {"type": "exceed_context_size_error"}},
        Failure.TOO_LONG,
    ),
    "too long, in a flat object": (400, {"object": "error", "message": LONG}, Failure.TOO_LONG),
    "too long, in a detail": (422, {"detail": LONG}, Failure.TOO_LONG),
    "too long, in a list": (400, [texted("The input token count (5) exceeds")], Failure.TOO_LONG),
    "too long, as a text": (
        400,
        {"error": "prompt is too long", "code": "x"},
        Failure.TOO_LONG,
    ),
    "too many tokens a minute": (429, texted("Too many tokens, wait"), Failure.LIMITED),
    "filtered, by code": (400, coded("content_filter"), Failure.FILTERED),
    "filtered, within": (
        400,
        coded(None, innererror={"code": "ResponsibleAIPolicyViolation"}),
        Failure.FILTERED,
    ),
    "filtered, by a moderator": (403, FLAGGED, Failure.FILTERED),
    "filtered, in words": (400, texted("Content Exists Risk"), Failure.FILTERED),
    "a wrong key as a wrong request": (400, KEY, Failure.REFUSED),
    "no money as a wrong request": (
        400,
        texted("Your credit balance is too low."),
        Failure.REFUSED,
    ),
    "no money as too many requests": (429, coded("insufficient_quota"), Failure.REFUSED),
    "no money": (402, {"error": {"message": "x"}}, Failure.REFUSED),
    "a call that failed": (400, coded("tool_use_failed"), Failure.TOOL_USE_FAILED),
    "no such model": (404, coded("model_not_found"), Failure.NOT_SERVED),
    "no such model as a wrong request": (400, coded("model_not_found"), Failure.NOT_SERVED),
    "wrong in FastAPI's words": (422, DETAIL, Failure.REJECTED),
    "wrong in words of its own": (400, {"code": "x", "error": "No."}, Failure.REJECTED),
    "a model that failed": (424, {"message": "x"}, Failure.BROKEN),
    "no capacity": (498, texted("x"), Failure.BUSY),
    "words of a question in an error of the server": (
        500,
        coded("context_length_exceeded"),
        Failure.BROKEN,
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_error_has_one_meaning_in_whatever_shape(case: str) -> None:
    status, body, failure = FAULTS[case]
    error = fault_in_answer(status, (), json.dumps(body).encode())
    assert error.failure is failure
    assert b"secret" not in error.encode()


def test_the_place_in_fastapi_s_words_is_blamed() -> None:
    assert fault_in_answer(422, (), json.dumps(DETAIL).encode()).param == "logprobs"
    nested = {"object": "error", "message": DETAIL, "type": "invalid_request_error"}
    assert fault_in_answer(422, (), json.dumps(nested).encode()).param == "logprobs"


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"code": 503}, Failure.BUSY),
        ({"code": 429, "type": "insufficient_quota"}, Failure.REFUSED),
        ({"code": "429"}, Failure.LIMITED),
        ({"code": "rate_limit_exceeded"}, Failure.LIMITED),
        ({"status": "RESOURCE_EXHAUSTED"}, Failure.LIMITED),
        ({"code": "context_length_exceeded"}, Failure.TOO_LONG),
        ({"message": LONG}, Failure.TOO_LONG),
        ({"type": "overloaded_error"}, Failure.BUSY),
        ({"code": "tool_use_failed", "status_code": 400}, Failure.TOOL_USE_FAILED),
        ({"code": "content_filter"}, Failure.FILTERED),
        ({"type": "server_error", "code": None}, Failure.BROKEN),
        ({"code": 7}, Failure.BROKEN),
        ({"code": True}, Failure.BROKEN),
        ("text", Failure.BROKEN),
    ],
)
def test_errors_in_a_stream_are_read_by_number_and_word(error: object, failure: Failure) -> None:
    assert fault_in_stream(json.dumps(error).encode()).failure is failure
    assert fault_in_event(json.dumps({"error": error})).failure is failure


@pytest.mark.parametrize(
    ("word", "failure"),
    [
        ("rate_limit_exceeded", Failure.LIMITED),
        ("rate_limit_error", Failure.LIMITED),
        ("too_many_requests", Failure.LIMITED),
        ("resource_exhausted", Failure.LIMITED),
        ("insufficient_quota", Failure.REFUSED),
        ("overloaded_error", Failure.BUSY),
        ("overloaded", Failure.BUSY),
        ("service_unavailable", Failure.BUSY),
        ("unavailable", Failure.BUSY),
        ("engine_overloaded", Failure.BUSY),
        ("timeout", Failure.SLOW),
        ("deadline_exceeded", Failure.SLOW),
        ("invalid_request_error", Failure.REJECTED),
        ("invalid_argument", Failure.REJECTED),
        ("authentication_error", Failure.REFUSED),
        ("permission_error", Failure.REFUSED),
    ],
)
def test_each_word_of_a_stream_has_its_meaning(word: str, failure: Failure) -> None:
    for name in ("type", "code"):
        assert fault_in_stream(json.dumps({name: word.upper()}).encode()).failure is failure


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (399, Failure.BROKEN),
        (400, Failure.REJECTED),
        (404, Failure.NOT_SERVED),
        (599, Failure.BROKEN),
    ],
)
def test_a_number_of_a_stream_is_a_status(code: int, failure: Failure) -> None:
    assert fault_in_stream(json.dumps({"code": code}).encode()).failure is failure


def test_an_event_is_an_error_if_it_says_no_more_than_one() -> None:
    said = '{"object":"error","message":"x","code":429}'
    error = fault_if_flat(said)
    assert error is not None
    assert error.failure is Failure.LIMITED
    for other in ('{"message":"ping"}', '{"message":{"code":1}}', "[]", "no", '{"code":1}'):
        assert fault_if_flat(other) is None


def test_time_to_retry_is_passed_on() -> None:
    error = fault_in_answer(429, ((b"retry-after", b"7"),), b"")
    assert (b"retry-after", b"7") in error.fields


@pytest.mark.parametrize(("delay", "told"), [("34.4s", b"35"), ("soon", None), (5, None)])
def test_time_to_retry_is_read_of_the_body_too(delay: object, told: bytes | None) -> None:
    details = [{"@type": "x"}, {"retryDelay": delay}]
    body = json.dumps({"error": {"code": 429, "message": "x", "details": details}}).encode()
    assert dict(fault_in_answer(429, (), body).fields).get(b"retry-after") == told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "detail", "details", "loc", "status"]),
            inner,
        )
    ),
    max_leaves=10,
)


@given(st.sampled_from([400, 403, 429, 500]), JSON)
def test_any_body_is_some_failure(status: int, body: object) -> None:
    assert fault_in_answer(status, (), json.dumps(body).encode()).failure in Failure


@given(st.binary())
def test_any_octets_are_some_failure(body: bytes) -> None:
    assert fault_in_answer(400, (), body).failure is Failure.REJECTED
