"""What passes between a worker and the process that does its large work, and what is done there.

A request is prepared, its tokens are counted, an answer is finished; of a stream a large event is
read, or a long answer signed: the same computations as in the worker itself.
"""

from collections.abc import Mapping, Sequence

import msgspec

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import ChatError
from enclave_server.chat.finishing import Said, finish
from enclave_server.chat.large import encode_slices
from enclave_server.chat.models import ModelTable
from enclave_server.chat.preparing import KINDS, Job, KindName, Prepared, count, prepare
from enclave_server.chat.signing import Signer
from enclave_server.chat.spoken import Spoken, require_readable
from enclave_server.chat.surfaces.surface import Signature
from protocol.signature import Algorithm, RequestHash, SigningKeys

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


class Large(msgspec.Struct, frozen=True, tag="large"):
    """An event of a stream that is too large for its worker, and the state of its reader."""

    dialect: str
    kind: KindName
    state: bytes
    octets: bytes


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A streamed answer to be signed, at a Unix time."""

    request_hash: bytes
    model: str
    algorithm: Algorithm | None
    version: int
    timestamp: int
    choices: Sequence[Spoken] = ()


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """The members of a signature."""

    members: dict[str, str | int]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A ChatError."""

    status: int
    message: str
    kind: str
    param: str | None
    code: str | None
    fields: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, error: ChatError) -> "Refused":
        """Return what `error` says."""
        return cls(error.status, error.message, error.kind, error.param, error.code, error.fields)

    def error(self) -> ChatError:
        """Return the error that it says."""
        return ChatError(
            self.status,
            self.message,
            kind=self.kind,
            param=self.param,
            code=self.code,
            fields=self.fields,
        )


class Reading(msgspec.Struct, frozen=True, tag="reading"):
    """What a large event says, in slices, the state after it, and the fault in it if any."""

    slices: list[bytes]
    state: bytes
    fault: Refused | None = None


_ENCODER = msgspec.msgpack.Encoder()
_WORK = msgspec.msgpack.Decoder(
    Said | Uncounted | Large | Ended | tuple[Job, dict[str, Account | None]]
)
_RESULTS = msgspec.msgpack.Decoder(Prepared | Counted | Written | Reading | Signed | Refused)


def do(models: ModelTable, keys: SigningKeys, work: bytes) -> bytes:
    """Return the result of `work`, both in the form in which they pass."""
    try:
        return _ENCODER.encode(_done(models, keys, _WORK.decode(work)))
    except ChatError as error:
        return _ENCODER.encode(Refused.of(error))


def _done(
    models: ModelTable,
    keys: SigningKeys,
    work: Said | Uncounted | Large | Ended | tuple[Job, Accounts],
) -> Written | Counted | Reading | Signed | Prepared:
    if isinstance(work, Said):
        return Written(finish(models, keys, work))
    if isinstance(work, Uncounted):
        return Counted(count(models, work.content))
    if isinstance(work, Large):
        return _read(work)
    if isinstance(work, Ended):
        return Signed(_sign(keys, work))
    job, accounts = work
    return prepare(models, job, accounts.__getitem__)


def _read(work: Large) -> Reading:
    reader = find_dialect(work.dialect).stream(KINDS[work.kind])
    reader.restore(work.state)
    slices: list[bytes] = []
    fault = None
    try:
        for event in reader.read(work.octets):
            slices += encode_slices(event)
    except ChatError as error:
        fault = Refused.of(error)
    return Reading(slices, reader.save(), fault)


def _sign(keys: SigningKeys, work: Ended) -> dict[str, str | int]:
    require_readable(work.choices)
    signer = Signer(lambda: keys, lambda: work.timestamp, work.version)
    outputs = [choice.output() for choice in work.choices]
    return signer.sign(RequestHash(work.request_hash), outputs, work.model, work.algorithm)


def encode_job(job: Job, accounts: Accounts) -> bytes:
    """Return the work to prepare `job`, with who pays at every upstream."""
    return _ENCODER.encode((job, accounts))


def encode_uncounted(content: bytes) -> bytes:
    """Return the work to count the tokens of a request's `content`."""
    return _ENCODER.encode(Uncounted(content))


def encode_large(large: Large) -> bytes:
    """Return the work to read `large`."""
    return _ENCODER.encode(large)


def encode_ended(ended: Ended) -> bytes:
    """Return the work to sign `ended`."""
    return _ENCODER.encode(ended)


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


def decode_reading(result: bytes | bytearray) -> Reading:
    """Return what was read of an event; raises the ChatError that it is instead."""
    reading = _accepted(result)
    if not isinstance(reading, Reading):
        raise TypeError("not what was read")
    return reading


def decode_signed(result: bytes | bytearray) -> Signature:
    """Return the members of a signature; raises the ChatError that it is instead."""
    signed = _accepted(result)
    if not isinstance(signed, Signed):
        raise TypeError("not a signature")
    return signed.members


def _accepted(data: bytes | bytearray) -> Prepared | Counted | Written | Reading | Signed:
    result: Prepared | Counted | Written | Reading | Signed | Refused = _RESULTS.decode(data)
    if isinstance(result, Refused):
        raise result.error()
    return result
