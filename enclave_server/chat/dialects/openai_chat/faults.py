"""What an error of OpenAI's API becomes. Its text stays here: it may name the operator."""

import re

import msgspec

from enclave_server.chat.dialects.openai_chat.requests import CHAT_MEMBERS, TEXT_MEMBERS
from enclave_server.chat.dialects.statuses import failure_of, retry_after
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.binary_http import Fields

TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG_TEXT = re.compile(r"context (length|size|window)", re.IGNORECASE)

# Parameters that an upstream may blame; whatever else it says there could name its operator.
# The name of the model is the operator's, not the client's.
BLAMABLE = {*CHAT_MEMBERS, *TEXT_MEMBERS} - {"model"}


class Fault(msgspec.Struct):
    """What is read of an upstream's error object."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class FaultBody(msgspec.Struct):
    """The body of an upstream's error."""

    error: Fault


def fault_in_answer(status: int, fields: Fields, body: bytes) -> UpstreamError:
    """Return the error for an answer of `status` other than 200."""
    try:
        fault = msgspec.json.decode(body, type=FaultBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fault = Fault()
    return _classify(status, fault, retry_after(fields))


def fault_in_stream(error: bytes) -> UpstreamError:
    """Return the error for an error object amid a stream."""
    try:
        fault = msgspec.json.decode(error, type=Fault)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fault = Fault()
    status = fault.code if isinstance(fault.code, int) else 500
    return _classify(status, fault, None)


def _classify(status: int, fault: Fault, seconds: int | None) -> UpstreamError:
    failure = failure_of(status)
    match failure:
        case Failure.REJECTED if _is_too_long(fault):
            return UpstreamError(Failure.TOO_LONG)
        case Failure.REJECTED:
            param = fault.param if fault.param in BLAMABLE else None
            return UpstreamError(Failure.REJECTED, param=param)
        case Failure.LIMITED if "insufficient_quota" in (fault.code, fault.type):
            return UpstreamError(Failure.REFUSED)
        case Failure.LIMITED | Failure.BUSY:
            return UpstreamError(failure, retry_after=seconds)
        case _:
            return UpstreamError(failure)


def _is_too_long(fault: Fault) -> bool:
    named = fault.code in TOO_LONG or fault.type in TOO_LONG
    return named or _TOO_LONG_TEXT.search(fault.message or "") is not None
