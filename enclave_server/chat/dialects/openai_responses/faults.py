"""What an error of the Responses API becomes. Its text stays here: it may name the operator."""

import re

import msgspec

from enclave_server.chat.dialects.statuses import failure_of, retry_after
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.binary_http import Fields

# Words that say more than the status beside them, wherever they stand.
_WORDS = {
    "context_length_exceeded": Failure.TOO_LONG,
    "exceed_context_size_error": Failure.TOO_LONG,
    "content_filter": Failure.FILTERED,
    "content_policy_violation": Failure.FILTERED,
    "image_content_policy_violation": Failure.FILTERED,
    "invalid_prompt": Failure.FILTERED,
    "insufficient_quota": Failure.REFUSED,
    "billing_hard_limit_reached": Failure.REFUSED,
    "invalid_api_key": Failure.REFUSED,
    "model_not_found": Failure.NOT_SERVED,
    "tool_use_failed": Failure.TOOL_USE_FAILED,
}

# Statuses of the words that stand alone amid a stream.
_STATUSES = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "overloaded": 503,
    "overloaded_error": 503,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "server_error": 500,
    "invalid_request_error": 400,
}

# Of an image, or of a member of the question: what all these words begin with.
_OF_THE_QUESTION = re.compile("(invalid|image|unsupported|empty|failed_to_download)_")

_TOO_LONG = re.compile(
    r"context (length|size|window)|maximum context|prompt is too long|too many (input )?tokens",
    re.IGNORECASE,
)

# What a provider may blame, by the first words of its name there, and the client's name for it.
_BLAMED = {
    "input": "messages",
    "max_output_tokens": "max_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "reasoning": "reasoning_effort",
    "temperature": "temperature",
    "text.format": "response_format",
    "text.verbosity": "verbosity",
    "tool_choice": "tool_choice",
    "tools": "tools",
    "top_logprobs": "top_logprobs",
    "top_p": "top_p",
}


class Metadata(msgspec.Struct):
    """Of a moderated request, what it is said to be; it quotes the request and is not read."""

    flagged_input: msgspec.Raw = msgspec.Raw()
    reasons: msgspec.Raw = msgspec.Raw()


class Fault(msgspec.Struct):
    """What is read of an error object; `status` of those that are said amid a stream."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    status_code: int | None = None
    metadata: Metadata | None = None


class FaultBody(Fault):
    """The body of an error, which is nested, or text, or flat."""

    error: Fault | str | None = None


def fault_in_answer(status: int, fields: Fields, body: bytes) -> UpstreamError:
    """Return the error for an answer of `status` other than 200."""
    return _classify(status, _read(body), retry_after(fields))


def fault_in_stream(error: bytes) -> UpstreamError:
    """Return the error for an error object, or an event that holds one, amid an answer."""
    fault = _read(error)
    return _classify(_status_of(fault), fault, None)


def _read(text: bytes) -> Fault:
    try:
        body = msgspec.json.decode(text, type=FaultBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Fault()
    if isinstance(body.error, Fault):
        return body.error
    return Fault(body.error or body.message, body.type, body.param, body.code, body.status_code)


def _status_of(fault: Fault) -> int:
    code = fault.code
    if isinstance(code, str) and re.fullmatch("[45][0-9]{2}", code):
        code = int(code)
    if isinstance(code, int):
        return code
    if _OF_THE_QUESTION.match(code or ""):
        return 400
    return fault.status_code or _STATUSES.get(code or "") or _STATUSES.get(fault.type or "", 500)


def _classify(status: int, fault: Fault, seconds: int | None) -> UpstreamError:
    failure = _named(fault) or failure_of(status)
    match failure:
        case Failure.REFUSED if status == 403 and fault.metadata is not None:
            return UpstreamError(Failure.FILTERED if _is_moderated(fault.metadata) else failure)
        case Failure.REJECTED if _TOO_LONG.search(fault.message or ""):
            return UpstreamError(Failure.TOO_LONG)
        case Failure.REJECTED:
            return UpstreamError(failure, param=_param(fault.param or ""))
        case Failure.LIMITED | Failure.BUSY:
            return UpstreamError(failure, retry_after=seconds)
        case _:
            return UpstreamError(failure)


def _named(fault: Fault) -> Failure | None:
    code = fault.code if isinstance(fault.code, str) else ""
    return _WORDS.get(code) or _WORDS.get(fault.type or "")


def _is_moderated(metadata: Metadata) -> bool:
    return any(bytes(raw) for raw in (metadata.flagged_input, metadata.reasons))


def _param(blamed: str) -> str | None:
    """Return what the client calls `blamed`; whatever else stands there could name the operator."""
    for name, told in _BLAMED.items():
        if re.match(rf"{re.escape(name)}(?![A-Za-z_])", blamed):
            return told
    return None
