"""Advice about answers that are not sealed."""

import httpx
import pytest

from oblivious_client.advice import on_refusal, silence
from oblivious_client.endpoint import Role

PROBLEM = "application/problem+json; charset=utf-8"


def answered(status: int, kind: str = "text/html") -> httpx.Response:
    return httpx.Response(status, headers={"content-type": kind})


@pytest.mark.parametrize("status", [502, 503, 504])
def test_who_does_not_answer_depends_on_who_was_asked(status: int) -> None:
    relay, gateway = (silence(answered(status), role) for role in (Role.RELAY, Role.GATEWAY))
    assert relay is not None
    assert relay.startswith("the relay answers, but ")
    assert "its gateway" in relay
    assert gateway is not None
    assert gateway.startswith("what stands before the gateway answers, but ")
    assert "the enclave" in gateway


@pytest.mark.parametrize("status", [200, 404, 429, 500])
def test_other_statuses_do_not_tell_of_silence(status: int) -> None:
    assert silence(answered(status), Role.RELAY) is None


def test_a_problem_document_is_the_gateways_own() -> None:
    assert silence(answered(503, PROBLEM), Role.RELAY) is None
    assert "full or starting" in on_refusal(answered(503, PROBLEM), Role.RELAY)
    assert "no way to its gateway" in on_refusal(answered(503), Role.RELAY)
    assert silence(httpx.Response(503), Role.RELAY) is not None


def test_what_else_can_be_done() -> None:
    assert "too large" in on_refusal(answered(413), Role.RELAY)
    assert "check the address" in on_refusal(answered(418), Role.GATEWAY)
