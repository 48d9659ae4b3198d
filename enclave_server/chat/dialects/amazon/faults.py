"""What Amazon's exceptions become. Their text stays here: it names accounts and resources."""

import re

import msgspec

from enclave_server.chat.dialects.amazon.frames import Frame
from enclave_server.chat.dialects.statuses import failure_of, retry_after
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.binary_http import Fields

# By name, without the word that all of them end with, in lower case: streams begin with a small
# letter where answers begin with a capital one.
FAILURES = {
    "accessdenied": Failure.REFUSED,
    "conflict": Failure.BROKEN,
    "expiredtoken": Failure.REFUSED,
    "internalserver": Failure.BROKEN,
    "invalidsignature": Failure.REFUSED,
    "modelerror": Failure.BROKEN,
    "modelnotready": Failure.LIMITED,
    "modelstreamerror": Failure.BROKEN,
    "modeltimeout": Failure.SLOW,
    "resourcenotfound": Failure.NOT_SERVED,
    "servicequotaexceeded": Failure.REFUSED,
    "serviceunavailable": Failure.BUSY,
    "throttling": Failure.LIMITED,
    "unrecognizedclient": Failure.REFUSED,
    "validation": Failure.REJECTED,
}

# What a request that is not valid may be besides: whose fault it is stands in the text alone.
TEXTS = {
    Failure.TOO_LONG: "too long|exceed context limit|context (window|length)"
    "|too many (input )?tokens",
    Failure.NOT_SERVED: "model identifier is invalid|end of its life",
    Failure.REFUSED: "on-demand throughput|access to the model|operation not allowed",
    Failure.FILTERED: "content filtering policy",
}
_TEXTS = {failure: re.compile(text, re.IGNORECASE) for failure, text in TEXTS.items()}

_OUTPUT_LIMIT = re.compile("maximum tokens you requested", re.IGNORECASE)
_NAME = re.compile(r"(?:.*#)?([A-Za-z]{1,64}?)(?:Exception|Error)?(?::.*)?", re.DOTALL)


class Body(msgspec.Struct):
    """What is read of an exception."""

    message: str | None = None
    upper: str | None = msgspec.field(name="Message", default=None)
    type: str | None = msgspec.field(name="__type", default=None)


def fault_in_answer(status: int, fields: Fields, body: bytes) -> UpstreamError:
    """Return the error for an answer of `status` other than 200."""
    said = _body(body)
    named = dict(fields).get(b"x-amzn-errortype", b"").decode("latin-1") or said.type or ""
    failure = FAILURES.get(_plain(named), failure_of(status))
    return _error(failure, said, retry_after(fields))


def fault_in_stream(frame: Frame) -> UpstreamError:
    """Return the error for a frame that is no event."""
    headers = frame.headers
    named = headers.get(":exception-type") or headers.get(":error-code") or ""
    failure = FAILURES.get(_plain(named), Failure.BROKEN)
    return _error(failure, _body(frame.payload), None)


def _plain(name: str) -> str:
    """Return the name of an exception as `FAILURES` has it, without namespace and address."""
    found = _NAME.fullmatch(name)
    return found[1].lower() if found else ""


def _body(data: bytes) -> Body:
    try:
        return msgspec.json.decode(data, type=Body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Body()


def _error(failure: Failure, said: Body, seconds: int | None) -> UpstreamError:
    if failure in (Failure.LIMITED, Failure.BUSY):
        return UpstreamError(failure, retry_after=seconds)
    if failure is Failure.REJECTED:
        text = said.message or said.upper or ""
        for named, pattern in _TEXTS.items():
            if pattern.search(text):
                return UpstreamError(named)
        if _OUTPUT_LIMIT.search(text):
            return UpstreamError(failure, param="max_tokens")
    return UpstreamError(failure)
