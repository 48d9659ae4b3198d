"""What an error of Google's APIs becomes. Its text stays here: it may name the operator."""

import re

import msgspec

from enclave_server.chat.dialects.statuses import failure_of, retry_after, seconds_of
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.binary_http import Fields

_TOO_LONG = re.compile(
    r"token count.{0,40} exceeds|exceeds the maximum number of tokens|context (length|window)",
    re.IGNORECASE,
)
_KEY = re.compile(r"API[ _]key (not valid|expired|not found)|API_KEY_INVALID", re.IGNORECASE)

# Reasons and statuses with 400 that are the operator's to mend: key, billing, country.
_OF_THE_OPERATOR = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "FAILED_PRECONDITION"})

# Numbers of the statuses, for errors amid a stream that have no other.
_NUMBERS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

# What the provider may blame, by how its name there begins, and the client's name for it.
_BLAMED = {
    "contents": "messages",
    "systeminstruction": "messages",
    "tools": "tools",
    "toolconfig": "tool_choice",
    "generationconfig.maxoutputtokens": "max_tokens",
    "generationconfig.temperature": "temperature",
    "generationconfig.topp": "top_p",
    "generationconfig.stopsequences": "stop",
    "generationconfig.candidatecount": "n",
    "generationconfig.responsejsonschema": "response_format",
    "generationconfig.responseschema": "response_format",
    "generationconfig.responsemimetype": "response_format",
    "generationconfig.thinkingconfig": "reasoning_effort",
    "generationconfig.responselogprobs": "logprobs",
    "generationconfig.logprobs": "top_logprobs",
}


class Violation(msgspec.Struct):
    """A member that is wrong."""

    field: str | None = None


class Detail(msgspec.Struct, rename="camel"):
    """What an error says more, of several types at once."""

    reason: str | None = None
    retry_delay: str | None = None
    field_violations: list[Violation] | None = None


class Fault(msgspec.Struct):
    """What is read of an error object."""

    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[Detail] | None = None


class FaultBody(msgspec.Struct):
    """The body of an error."""

    error: Fault


_BODIES = msgspec.json.Decoder(FaultBody | list[FaultBody])
_FAULTS = msgspec.json.Decoder(Fault)


def fault_in_answer(status: int, fields: Fields, body: bytes) -> UpstreamError:
    """Return the error for an answer of `status` other than 200."""
    try:
        said = _BODIES.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _classify(status, Fault(), retry_after(fields))
    if isinstance(said, FaultBody):
        said = [said]
    return _classify(status, said[0].error if said else Fault(), retry_after(fields))


def fault_in_stream(error: bytes) -> UpstreamError:
    """Return the error for an error object amid an answer."""
    try:
        fault = _FAULTS.decode(error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fault = Fault()
    return _classify(fault.code or _NUMBERS.get(fault.status or "", 500), fault, None)


def _classify(status: int, fault: Fault, seconds: int | None) -> UpstreamError:
    failure = failure_of(status)
    match failure:
        case Failure.REJECTED if _TOO_LONG.search(fault.message or ""):
            return UpstreamError(Failure.TOO_LONG)
        case Failure.REJECTED if _is_the_operators(fault):
            return UpstreamError(Failure.REFUSED)
        case Failure.REJECTED:
            return UpstreamError(failure, param=_param(fault))
        case Failure.LIMITED | Failure.BUSY:
            return UpstreamError(failure, retry_after=seconds or _delay(fault))
        case _:
            return UpstreamError(failure)


def _is_the_operators(fault: Fault) -> bool:
    words = {fault.status, *(detail.reason for detail in fault.details or ())}
    return not words.isdisjoint(_OF_THE_OPERATOR) or _KEY.search(fault.message or "") is not None


def _delay(fault: Fault) -> int | None:
    """Return the seconds after which to ask again, rounded up."""
    for detail in fault.details or ():
        if (seconds := seconds_of(detail.retry_delay)) is not None:
            return seconds
    return None


def _param(fault: Fault) -> str | None:
    """Return what the client calls the member that is blamed first."""
    for detail in fault.details or ():
        for violation in detail.field_violations or ():
            blamed = (violation.field or "").replace("_", "").lower()
            for name, told in _BLAMED.items():
                if re.match(rf"{re.escape(name)}(?![a-z])", blamed):
                    return told
    return None
