"""Errors in the words of the surface that was asked: OpenAI's object, or Anthropic's."""

from __future__ import annotations

from oblivious_client.errors import ClientError, NoToken, ServiceError, TokenRefused
from oblivious_client.local.messages import Fields, LocalRequest, LocalResponse
from oblivious_client.local.passing import Fault, error_object, message_error
from protocol.registry import JSON

ONCE: Fields = ((b"x-should-retry", b"false"),)  # which OpenAI's SDKs heed
JSON_FIELDS: Fields = ((b"content-type", JSON), (b"cache-control", b"no-store"))

_MESSAGES = "/v1/messages"
# By status: the type that the SDKs of each maker know an error by.
_OPENAI_TYPES = {403: "permission_error", 404: "not_found_error"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    503: "overloaded_error",
}
_UNREADABLE = {
    400: ("this is no request in HTTP/1.1", "malformed"),
    413: ("the question is larger than the 20 MiB that the gateway takes", "request_too_large"),
    431: ("the fields of the request are larger than any program's", "head_too_large"),
    501: ("the request's transfer coding is not known here", "transfer_coding"),
}


def refuse(
    head: LocalRequest | None, status: int, fault: Fault, more: Fields = ()
) -> LocalResponse:
    """Return an error; without a head it is OpenAI's, whose words most programs know."""
    is_anthropic = head is not None and _is_anthropic(head)
    body = _anthropic(status, fault) if is_anthropic else _openai(status, fault)
    return LocalResponse(status, (*JSON_FIELDS, *more), body)


def refuse_unpaid(head: LocalRequest, failure: NoToken | TokenRefused) -> LocalResponse:
    """Return that a question was not paid for; asked again by itself, it would not be either."""
    code = "no_tokens" if isinstance(failure, NoToken) else "token_refused"
    fault = Fault(describe(failure), code)
    if _is_anthropic(head):
        body = message_error(fault.message, "billing_error", code)
    else:
        body = error_object(fault)
    return LocalResponse(402, (*JSON_FIELDS, *ONCE), body)


def refuse_unreadable(status: int, head: LocalRequest | None) -> LocalResponse:
    """Return the error for a request that is over a limit, or is none."""
    message, code = _UNREADABLE.get(status, _UNREADABLE[400])
    return refuse(head, status, Fault(message, code))


def describe(failure: ClientError) -> str:
    """Return what happened and what to do; the reader is the user of this machine."""
    return ": ".join(part for part in (str(failure).removesuffix("."), failure.advice) if part)


def fault_of(failure: ClientError) -> Fault:
    """Return a failure as programs are told it, with its kind and code where it has some."""
    if isinstance(failure, ServiceError):
        return Fault(describe(failure), failure.error_code, failure.kind)
    return Fault(describe(failure), failure.code.name.lower())


def _is_anthropic(head: LocalRequest) -> bool:
    """Whether a program of Anthropic's asks; its SDKs name their version at every path."""
    return head.path.startswith(_MESSAGES) or head.count(b"anthropic-version") > 0


def _openai(status: int, fault: Fault) -> bytes:
    otherwise = "invalid_request_error" if status < 500 else None
    return error_object(fault, _OPENAI_TYPES.get(status, otherwise))


def _anthropic(status: int, fault: Fault) -> bytes:
    kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return message_error(fault.message, kind)
