"""The sentences that fit a fault are those that the client says; no other does."""

import httpx
import pytest

from oblivious_client.advice import on_silence
from oblivious_client.answers import raise_for_error
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import (
    AnswerTruncated,
    ClientError,
    NoAnswer,
    NoConnection,
    ServiceError,
)
from oblivious_client.exchange import refusal
from oblivious_client.local.refusals import describe
from scripts.soaking.faults import FAULTS
from scripts.soaking.sentences import RIGHT, is_right

RELAY = Endpoint.parse(Role.RELAY, "http://127.0.0.1:8080")


def answered(status: int, kind: str = "") -> ClientError:
    request = httpx.Request("POST", RELAY.url)
    return refusal(
        httpx.Response(status, headers={"content-type": kind}, request=request), Role.RELAY
    )


def gone(*, is_known: bool) -> ClientError:
    return NoConnection("no connection: x", advice=on_silence(RELAY, None, is_known=is_known))


def failed_model() -> ClientError:
    with pytest.raises(ServiceError) as caught:
        raise_for_error(
            502,
            b'{"error":{"message":"The model\'s server failed.",'
            b'"type":"server_error","code":"upstream_failed"}}',
        )
    return caught.value


def test_every_fault_has_its_sentences() -> None:
    assert set(RIGHT) == {fault.name for fault in FAULTS}


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("engine", failed_model()),
        ("upstream", failed_model()),
        ("worker", AnswerTruncated()),
        ("worker stopped", NoAnswer()),
        ("server", answered(502)),
        ("server", answered(503, "application/problem+json")),
        ("server", answered(422, "application/problem+json")),
        ("proxy", answered(504)),
        ("relay", gone(is_known=True)),
        ("relay", gone(is_known=False)),
    ],
)
def test_what_the_client_says_fits(fault: str, failure: ClientError) -> None:
    assert is_right(describe(failure), [fault])
    assert is_right(describe(failure), [])


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("worker", failed_model()),
        ("engine", AnswerTruncated()),
        ("upstream", answered(502)),
        ("relay", answered(404)),
        ("relay", ClientError("no connection")),
        ("proxy", gone(is_known=True)),
    ],
)
def test_what_does_not_fit_is_noticed(fault: str, failure: ClientError) -> None:
    assert not is_right(describe(failure), [fault])


@pytest.mark.parametrize("said", ["The model's server failed.", describe(failed_model())])
@pytest.mark.parametrize("fault", ["engine", "upstream", "server"])
def test_what_serve_passes_on_fits(fault: str, said: str) -> None:
    assert is_right(f"passed on 502: {said}", [fault])
    assert not is_right(f"passed on 502: {said}", ["relay"])
    assert not is_right(f"passed on 502: {said.replace('model', 'relay')}", [fault])


def test_with_two_faults_either_may_be_told_of() -> None:
    assert is_right(describe(AnswerTruncated()), ["engine", "worker"])
    assert is_right(describe(failed_model()), ["engine", "worker"])
