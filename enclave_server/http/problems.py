"""Errors in the clear: problem details (RFC 9457) that say a status and never a reason."""

import json
from http import HTTPStatus

from enclave_server.http.messages import Headers, OuterResponse
from protocol.registry import KEY_PROBLEM, PROBLEM_JSON


def problem(status: HTTPStatus, *, headers: Headers = (), route: str = "refused") -> OuterResponse:
    """Return the answer for `status`, of type about:blank."""
    members: dict[str, str | int] = {"title": status.phrase, "status": int(status)}
    return _answer(members, status, headers, route)


def key_rejected(route: str) -> OuterResponse:
    """Return the one answer for every request that no key opens (RFC 9458, Section 5.3)."""
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    members: dict[str, str | int] = {
        "type": KEY_PROBLEM,
        "title": "key identifier unknown",
        "status": int(status),
    }
    return _answer(members, status, (), route)


def unavailable(retry_after_seconds: int, *, route: str = "refused") -> OuterResponse:
    """Return the 503 of a server that cannot do this now."""
    headers = ((b"retry-after", b"%d" % retry_after_seconds),)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, headers=headers, route=route)


def _answer(
    members: dict[str, str | int], status: HTTPStatus, headers: Headers, route: str
) -> OuterResponse:
    body = json.dumps(members).encode()
    return OuterResponse(status, ((b"content-type", PROBLEM_JSON), *headers), body, route)
