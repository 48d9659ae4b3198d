"""What an upstream's error becomes. Its text stays in the enclave: it may name the operator.

| upstream | answer |
| --- | --- |
| 400, 413, 422 | 400: `context_length_exceeded` if it says so, or the parameter it blames |
| 429 | 429 with its Retry-After; 503 if the operator's quota is used up |
| 503, 529 | 503 with its Retry-After |
| other 4xx: key, account, model's name there | 503 |
| 408, 504 | 504 |
| anything else | 502 |
"""

import re

import msgspec

from enclave_server.chat.errors import Failure, UpstreamError

# Of an error body, no more than this is read.
MAX_FAULT_BYTES = 64 * 1024

MAX_RETRY_SECONDS = 86400

TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG_TEXT = re.compile(r"context (length|size|window)", re.IGNORECASE)

# Parameters that an upstream may blame; whatever else it says there could name its operator.
BLAMABLE = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "suffix",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "verbosity",
    }
)

_BY_STATUS = {
    400: Failure.REJECTED,
    408: Failure.SLOW,
    413: Failure.TOO_LONG,
    422: Failure.REJECTED,
    429: Failure.LIMITED,
    503: Failure.BUSY,
    504: Failure.SLOW,
    529: Failure.BUSY,
}


class Fault(msgspec.Struct):
    """What is read of an upstream's error object."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class FaultBody(msgspec.Struct):
    """The body of an upstream's error."""

    error: Fault


def fault_in_answer(status: int, body: bytes, retry_after: int | None) -> UpstreamError:
    """Return the error for an answer of `status` other than 200."""
    try:
        fault = msgspec.json.decode(body, type=FaultBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fault = Fault()
    return _classify(status, fault, retry_after)


def fault_in_stream(error: bytes) -> UpstreamError:
    """Return the error for an error object amid a stream."""
    try:
        fault = msgspec.json.decode(error, type=Fault)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fault = Fault()
    status = fault.code if isinstance(fault.code, int) else 500
    return _classify(status, fault, None)


def _classify(status: int, fault: Fault, retry_after: int | None) -> UpstreamError:
    failure = _BY_STATUS.get(status, Failure.REFUSED if 400 <= status < 500 else Failure.BROKEN)
    match failure:
        case Failure.REJECTED if _is_too_long(fault):
            return UpstreamError(Failure.TOO_LONG)
        case Failure.REJECTED:
            param = fault.param if fault.param in BLAMABLE else None
            return UpstreamError(Failure.REJECTED, param=param)
        case Failure.LIMITED if "insufficient_quota" in (fault.code, fault.type):
            return UpstreamError(Failure.REFUSED)
        case Failure.LIMITED | Failure.BUSY:
            return UpstreamError(failure, retry_after=retry_after)
        case _:
            return UpstreamError(failure)


def _is_too_long(fault: Fault) -> bool:
    named = fault.code in TOO_LONG or fault.type in TOO_LONG
    return named or _TOO_LONG_TEXT.search(fault.message or "") is not None


def parse_retry_after(value: bytes) -> int | None:
    """Return the seconds of a Retry-After field, or None if it is a date, absurd or garbage."""
    if not re.fullmatch(rb"[0-9]{1,5}", value) or int(value) > MAX_RETRY_SECONDS:
        return None
    return int(value)
