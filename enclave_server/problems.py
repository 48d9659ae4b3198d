"""Errors in the clear: problem details (RFC 9457) that say a status and never a reason."""

import json
from http import HTTPStatus

from enclave_server.outer import Headers, OuterResponse

MEDIA_TYPE = b"application/problem+json"

# RFC 9458, Section 5.3. One type for an unknown key and for every failure to open.
OHTTP_KEY = "https://iana.org/assignments/http-problem-types#ohttp-key"


def problem(
    status: HTTPStatus, *, headers: Headers = (), type_uri: str = "", route: str = "refused"
) -> OuterResponse:
    """Return the answer for `status`; without `type_uri` the type is about:blank."""
    members: dict[str, str | int] = {"type": type_uri} if type_uri else {}
    members |= {"title": status.phrase, "status": int(status)}
    body = json.dumps(members).encode()
    return OuterResponse(status, ((b"content-type", MEDIA_TYPE), *headers), body, route)


def unavailable(retry_after_seconds: int, *, route: str = "refused") -> OuterResponse:
    """Return the 503 of a server that is full for now."""
    headers = ((b"retry-after", b"%d" % retry_after_seconds),)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, headers=headers, route=route)
