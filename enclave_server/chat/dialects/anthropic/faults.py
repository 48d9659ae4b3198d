"""What an error of Anthropic's API becomes. Its text stays here: it may name the operator."""

import re

import msgspec

from enclave_server.chat.dialects.statuses import failure_of, retry_after
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.binary_http import Fields

FAILURES = {
    "authentication_error": Failure.REFUSED,
    "billing_error": Failure.REFUSED,
    "permission_error": Failure.REFUSED,
    "not_found_error": Failure.NOT_SERVED,
    "request_too_large": Failure.TOO_LONG,
    "rate_limit_error": Failure.LIMITED,
    "api_error": Failure.BROKEN,
    "timeout_error": Failure.SLOW,
    "overloaded_error": Failure.BUSY,
    "invalid_request_error": Failure.REJECTED,
}

# What an invalid request may be besides: whose fault it is stands in the text alone.
TEXTS = {
    Failure.TOO_LONG: "prompt is too long|exceed context limit|context (window|length)",
    Failure.REFUSED: "credit balance|usage limits|billing",
    Failure.FILTERED: "content filtering policy",
}
_TEXTS = {failure: re.compile(text, re.IGNORECASE) for failure, text in TEXTS.items()}

# The member that is to blame stands first in the text, by its name there.
PARAMS = {
    "messages": "messages",
    "system": "messages",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "thinking": "reasoning_effort",
    "output_config.effort": "reasoning_effort",
    "output_config.format": "response_format",
}
_BLAMED = re.compile(r"`?((?:output_config\.)?[a-z_]+)")
_EFFORT = re.compile("effort level", re.IGNORECASE)


class Fault(msgspec.Struct):
    """What is read of an error object."""

    type: str | None = None
    message: str | None = None


class FaultBody(msgspec.Struct):
    """The body of an error."""

    error: Fault


def fault_in_answer(status: int, fields: Fields, body: bytes) -> UpstreamError:
    """Return the error for an answer of `status` other than 200."""
    try:
        fault = msgspec.json.decode(body, type=FaultBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fault = Fault()
    failure = FAILURES.get(fault.type or "", failure_of(status))
    return _error(failure, fault, retry_after(fields))


def fault_in_stream(fault: Fault) -> UpstreamError:
    """Return the error for an error object amid a stream."""
    return _error(FAILURES.get(fault.type or "", Failure.BROKEN), fault, None)


def _error(failure: Failure, fault: Fault, seconds: int | None) -> UpstreamError:
    if failure in (Failure.LIMITED, Failure.BUSY):
        return UpstreamError(failure, retry_after=seconds)
    if failure is not Failure.REJECTED:
        return UpstreamError(failure)
    text = fault.message or ""
    for named, pattern in _TEXTS.items():
        if pattern.search(text):
            return UpstreamError(named)
    return UpstreamError(failure, param=_blamed(text))


def _blamed(text: str) -> str | None:
    if _EFFORT.search(text):
        return "reasoning_effort"
    found = _BLAMED.match(text)
    return PARAMS.get(found[1]) if found else None
