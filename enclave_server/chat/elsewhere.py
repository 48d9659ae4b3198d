"""What passes between a worker and the process that does its large work, and what is done there.

A request is prepared, its tokens are counted, or an answer is finished: the same computations as in
the worker itself.
"""

from collections.abc import Mapping

import msgspec

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.errors import ChatError
from enclave_server.chat.finishing import Said, finish
from enclave_server.chat.models import ModelTable
from enclave_server.chat.preparing import Job, Prepared, count, prepare
from protocol.signature import SigningKeys

Accounts = Mapping[str, Account | None]


class Uncounted(msgspec.Struct, frozen=True, tag="uncounted"):
    """The content of a request whose tokens are to be counted."""

    content: bytes


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """How many tokens there are, about."""

    tokens: int


class Written(msgspec.Struct, frozen=True, tag="written"):
    """The content of an answer."""

    content: bytes


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A ChatError."""

    status: int
    message: str
    kind: str
    param: str | None
    code: str | None
    fields: tuple[tuple[bytes, bytes], ...]


_ENCODER = msgspec.msgpack.Encoder()
_WORK = msgspec.msgpack.Decoder(Said | Uncounted | tuple[Job, dict[str, Account | None]])
_RESULTS = msgspec.msgpack.Decoder(Prepared | Counted | Written | Refused)


def do(models: ModelTable, keys: SigningKeys, work: bytes) -> bytes:
    """Return the result of `work`, both in the form in which they pass."""
    try:
        return _ENCODER.encode(_done(models, keys, _WORK.decode(work)))
    except ChatError as e:
        return _ENCODER.encode(Refused(e.status, e.message, e.kind, e.param, e.code, e.fields))


def _done(
    models: ModelTable, keys: SigningKeys, work: Said | Uncounted | tuple[Job, Accounts]
) -> Written | Counted | Prepared:
    if isinstance(work, Said):
        return Written(finish(models, keys, work))
    if isinstance(work, Uncounted):
        return Counted(count(models, work.content))
    job, accounts = work
    return prepare(models, job, accounts.__getitem__)


def encode_job(job: Job, accounts: Accounts) -> bytes:
    """Return the work to prepare `job`, with who pays at every upstream."""
    return _ENCODER.encode((job, accounts))


def encode_uncounted(content: bytes) -> bytes:
    """Return the work to count the tokens of a request's `content`."""
    return _ENCODER.encode(Uncounted(content))


def encode_said(said: Said) -> bytes:
    """Return the work to finish `said`."""
    return _ENCODER.encode(said)


def decode_prepared(result: bytes | bytearray) -> Prepared:
    """Return what was prepared; raises the ChatError that it is instead."""
    prepared = _accepted(result)
    if not isinstance(prepared, Prepared):
        raise TypeError("not what was prepared")
    return prepared


def decode_counted(result: bytes | bytearray) -> int:
    """Return how many tokens were counted; raises the ChatError that it is instead."""
    counted = _accepted(result)
    if not isinstance(counted, Counted):
        raise TypeError("not what was counted")
    return counted.tokens


def decode_written(result: bytes | bytearray) -> bytes:
    """Return the content that was written; raises the ChatError that it is instead."""
    written = _accepted(result)
    if not isinstance(written, Written):
        raise TypeError("not what was written")
    return written.content


def _accepted(data: bytes | bytearray) -> Prepared | Counted | Written:
    result: Prepared | Counted | Written | Refused = _RESULTS.decode(data)
    if not isinstance(result, Refused):
        return result
    raise ChatError(
        result.status,
        result.message,
        kind=result.kind,
        param=result.param,
        code=result.code,
        fields=result.fields,
    )
