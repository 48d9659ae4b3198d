"""What an error of OpenAI's API becomes. Its text stays here: it may name the operator."""

import re
from typing import Any

import msgspec

from enclave_server.chat.dialects.openai_chat.members import CHAT_MEMBERS, TEXT_MEMBERS
from enclave_server.chat.dialects.statuses import failure_of, retry_after, seconds_of
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.binary_http import Fields

# What those who speak this dialect call it; of words, those that have stood for years.
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG_TEXT = re.compile(
    r"context (length|size|window)"
    r"|prompt is too long"
    r"|maximum prompt length"
    r"|input token count"
    r"|too many (input )?tokens"
    r"|(input|prompt)( is)? too (long|large)"
    r"|tokens.{1,80}must be <="
    r"|range of input length",
    re.IGNORECASE,
)
_FILTERED = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "datainspectionfailed",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "content_moderation",
    }
)
_FILTERED_TEXT = re.compile(
    r"content exists risk|violates usage guidelines|flagged (by|as|for)|requires moderation",
    re.IGNORECASE,
)
_UNPAID = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_balance",
        "account_deactivated",
        "invalid_api_key",
        "api_key_invalid",
    }
)
_UNPAID_TEXT = re.compile(r"credit balance is too low|api key not valid", re.IGNORECASE)
_NOT_SERVED = frozenset({"model_not_found", "model_not_available", "deploymentnotfound"})

# What a word means in mid-stream, where no status is said.
_STATUSES = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
    "resource_exhausted": 429,
    "overloaded_error": 503,
    "overloaded": 503,
    "service_unavailable": 503,
    "unavailable": 503,
    "engine_overloaded": 503,
    "timeout": 504,
    "deadline_exceeded": 504,
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "authentication_error": 401,
    "permission_error": 403,
}
_CODES = range(400, 600)

# Parameters that an upstream may blame; whatever else it says there could name its operator.
# The name of the model is the operator's, not the client's.
BLAMABLE = {*CHAT_MEMBERS, *TEXT_MEMBERS} - {"model"}
_ROOT = re.compile(r"[a-z_]+")


class Fault(msgspec.Struct, frozen=True):
    """What is read of an upstream's error: its words in lower case, and what it says about it."""

    words: frozenset[str] = frozenset()
    message: str = ""
    param: str | None = None
    status: int | None = None
    seconds: int | None = None


def fault_in_answer(status: int, fields: Fields, body: bytes) -> UpstreamError:
    """Return the error for an answer of `status` other than 200."""
    fault = _fault(_decoded(body))
    seconds = retry_after(fields)
    return _classify(status, fault, fault.seconds if seconds is None else seconds)


def fault_in_stream(error: bytes) -> UpstreamError:
    """Return the error for an error object amid a stream."""
    return _in_stream(_fault({"error": _decoded(error)}))


def fault_in_event(data: str) -> UpstreamError:
    """Return the error for an event that is one."""
    return _in_stream(_fault(_decoded(data)))


def fault_if_flat(data: str) -> UpstreamError | None:
    """Return the error for an event that is one without saying so, None if it is not."""
    said = _object(_decoded(data))
    if not isinstance(said.get("message"), str) or not ({"code", "type", "status"} & said.keys()):
        return None
    return _in_stream(_fault(said))


def _in_stream(fault: Fault) -> UpstreamError:
    said = (_STATUSES[word] for word in sorted(fault.words) if word in _STATUSES)
    status = fault.status or next(said, 400 if _named(fault) else 500)
    return _classify(status, fault, fault.seconds)


def _fault(said: object) -> Fault:
    """Return what is read of an error in any of the shapes in which servers put theirs."""
    if isinstance(said, list):
        said = said[0] if said else None  # Google's, of a stream that is an array
    outer = _object(said)
    error = outer.get("error", outer)
    if isinstance(error, str):  # xAI's and Hugging Face's: a text, and a code beside it
        error = {**outer, "message": error}
    inner = _object(error)
    message = inner.get("message")
    if not isinstance(message, str):  # FastAPI's, where a list says what is wrong
        return _of_detail(_object(message).get("detail", inner.get("detail", message)), inner)
    return Fault(_words(inner), message, _text(inner.get("param")), _status(inner), _delay(inner))


def _of_detail(detail: object, inner: dict[str, Any]) -> Fault:
    if isinstance(detail, str):
        return Fault(_words(inner), detail, status=_status(inner))
    first = _object(detail[0]) if isinstance(detail, list) and detail else {}
    place = first.get("loc")
    names = [name for name in place if isinstance(name, str)] if isinstance(place, list) else []
    param = next((name for name in names if name != "body"), None)
    return Fault(_words(inner), _text(first.get("msg")) or "", param, _status(inner))


def _words(error: dict[str, Any]) -> frozenset[str]:
    """Return the words by which an error may be known, and those of what caused it."""
    details = error.get("details")
    listed = details if isinstance(details, list) else []
    inner = [error.get("innererror"), *listed]
    said = [error.get(name) for name in ("code", "type", "status", "error_type")]
    said += [_object(each).get(name) for each in inner for name in ("code", "reason")]
    if _flagged(error.get("metadata")):
        said.append("content_filter")
    return frozenset(word.lower() for word in said if isinstance(word, str))


def _flagged(metadata: object) -> bool:
    """Whether it is OpenRouter's note of what its moderation found."""
    return not {"flagged_input", "reasons"}.isdisjoint(_object(metadata))


def _status(error: dict[str, Any]) -> int | None:
    for name in ("status_code", "code", "status"):
        value = error.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:4])
        if isinstance(value, int) and value in _CODES:
            return value
    return None


def _delay(error: dict[str, Any]) -> int | None:
    """Return the seconds of Google's RetryInfo."""
    details = error.get("details")
    for each in details if isinstance(details, list) else []:
        if (seconds := seconds_of(_object(each).get("retryDelay"))) is not None:
            return seconds
    return None


def _classify(status: int, fault: Fault, seconds: int | None) -> UpstreamError:
    if status in (400, 403, 413, 422) and (named := _named(fault)):
        return UpstreamError(named)
    match failure := failure_of(status):
        case Failure.LIMITED if fault.words & _UNPAID:
            return UpstreamError(Failure.REFUSED)
        case Failure.REJECTED:
            return UpstreamError(failure, param=_blamed(fault))
        case Failure.LIMITED | Failure.BUSY:
            return UpstreamError(failure, retry_after=seconds)
        case _:
            return UpstreamError(failure)


def _named(fault: Fault) -> Failure | None:
    """Return what the words of `fault` say, which is more than a status can."""
    table = (
        (_FILTERED, _FILTERED_TEXT, Failure.FILTERED),
        (_TOO_LONG, _TOO_LONG_TEXT, Failure.TOO_LONG),
        (_UNPAID, _UNPAID_TEXT, Failure.REFUSED),
        (_NOT_SERVED, None, Failure.NOT_SERVED),
        ({"tool_use_failed"}, None, Failure.TOOL_USE_FAILED),
    )
    for words, text, failure in table:
        if fault.words & words or (text is not None and text.search(fault.message)):
            return failure
    return None


def _blamed(fault: Fault) -> str | None:
    """Return the request's member that is blamed, without the place in it."""
    root = _ROOT.match(fault.param or "")
    return root[0] if root is not None and root[0] in BLAMABLE else None


def _decoded(data: bytes | str) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
