"""What the errors of OpenAI-compatible upstreams become, and what of them may be told."""

import json

import pytest

from enclave_server.chat.dialects.openai_chat.faults import (
    BLAMABLE,
    fault_in_answer,
    fault_in_stream,
)
from enclave_server.chat.dialects.openai_chat.requests import CHAT_MEMBERS, TEXT_MEMBERS
from enclave_server.chat.errors import Failure


def test_all_that_is_sent_may_be_blamed_but_the_name_of_the_model() -> None:
    assert {*CHAT_MEMBERS, *TEXT_MEMBERS} - BLAMABLE == {"model"}
    assert {"messages", "prompt", "temperature", "best_of", "tools"} <= BLAMABLE


@pytest.mark.parametrize(
    ("blamed", "told"), [("best_of", "best_of"), ("model", None), ("org-operator", None)]
)
def test_only_what_was_sent_is_blamed(blamed: str, told: str | None) -> None:
    body = json.dumps({"error": {"message": "no", "param": blamed}}).encode()
    assert fault_in_answer(400, (), body).param == told


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"code": 503}, Failure.BUSY),
        ({"code": 429, "type": "insufficient_quota"}, Failure.REFUSED),
        ({"code": "429"}, Failure.BROKEN),
        ("text", Failure.BROKEN),
    ],
)
def test_errors_in_a_stream_are_read_by_their_number(error: object, failure: Failure) -> None:
    assert fault_in_stream(json.dumps(error).encode()).failure is failure


def test_time_to_retry_is_passed_on() -> None:
    error = fault_in_answer(429, ((b"retry-after", b"7"),), b"")
    assert (b"retry-after", b"7") in error.fields
