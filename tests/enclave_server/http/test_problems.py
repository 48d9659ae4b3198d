"""Errors in the clear: a status, its usual words, and nothing else."""

import json
from http import HTTPStatus

import pytest

from enclave_server.http.messages import OuterResponse
from enclave_server.http.problems import key_rejected, problem, unavailable

JSON = (b"content-type", b"application/problem+json")


def members(response: OuterResponse) -> dict[str, object]:
    assert isinstance(response.body, bytes)
    read: dict[str, object] = json.loads(response.body)
    return read


@pytest.mark.parametrize("status", [HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT])
def test_a_problem_says_its_status(status: HTTPStatus) -> None:
    response = problem(status)
    assert (response.status, response.headers, response.route) == (status, (JSON,), "refused")
    assert members(response) == {"title": status.phrase, "status": int(status)}


def test_a_problem_has_the_fields_and_the_route_that_it_is_given() -> None:
    allow = (b"allow", b"GET")
    response = problem(HTTPStatus.METHOD_NOT_ALLOWED, headers=(allow,), route="health")
    assert (response.headers, response.route) == ((JSON, allow), "health")


def test_a_key_that_opens_nothing() -> None:
    response = key_rejected("ohttp")
    assert (response.status, response.headers, response.route) == (422, (JSON,), "ohttp")
    assert members(response) == {
        "type": "https://iana.org/assignments/http-problem-types#ohttp-key",
        "title": "key identifier unknown",
        "status": 422,
    }


def test_a_server_that_is_full_says_when_to_come_again() -> None:
    response = unavailable(7, route="ohttp")
    assert (response.status, response.route) == (503, "ohttp")
    assert response.headers == (JSON, (b"retry-after", b"7"))
    assert members(response) == {"title": "Service Unavailable", "status": 503}
