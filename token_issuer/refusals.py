"""Every way in which a request is refused, and the problem document that says so (RFC 9457).

A status and figures that belong to the account; never a reason in words.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus

from werkzeug.wrappers import Response

from protocol.registry import BLANK_PROBLEM, PROBLEM_JSON

RETRY_AFTER_SECONDS = 5
"""What a buyer is told to wait for the ledger."""


class Refusal(Exception):
    """A request that is not done: its status, and what the answer says beside it."""

    def __init__(
        self,
        status: HTTPStatus,
        members: Mapping[str, int] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """`members` stand in the document, `fields` in the head."""
        super().__init__(status)
        self.status = status
        self.members = members or {}
        self.fields = fields or {}

    def response(self) -> Response:
        """Return the answer."""
        about = {"type": BLANK_PROBLEM, "title": self.status.phrase, "status": self.status.value}
        answer = Response(
            json.dumps({**about, **self.members}),
            status=self.status.value,
            content_type=PROBLEM_JSON.decode(),
        )
        answer.headers.extend({"Cache-Control": "no-store", **self.fields})
        return answer


def unauthorized() -> Refusal:
    """Return the one answer to a secret that is unknown, disabled or expired, or is missing."""
    return Refusal(HTTPStatus.UNAUTHORIZED, fields={"WWW-Authenticate": "Bearer"})


def payment_required(balance: int, price: int) -> Refusal:
    """Return the answer to an account that has less than the tokens cost, both in units."""
    return Refusal(HTTPStatus.PAYMENT_REQUIRED, {"balance": balance, "price": price})


def too_many(seconds: int) -> Refusal:
    """Return the answer to an account that asks faster than it may."""
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, fields={"Retry-After": str(seconds)})


def unavailable() -> Refusal:
    """Return the answer while ledger or keys cannot be used; the same request may come again."""
    fields = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, fields=fields)
