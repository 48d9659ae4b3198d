"""What is too large for one turn of the event loop: events of megabytes, and the ends of answers.

An event above `LARGE_BYTES` is not read where it arrives: its reader yields it as it came, and what
it says is found out in another process, which gets the reader's state and gives the state after it
back. It comes in slices, each of which takes a millisecond to pass on: texts and fragments of calls
are joined by whoever reads them, so that a text in pieces is the same text.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import msgspec

from enclave_server.chat.conversation import (
    CallDelta,
    ChoiceDelta,
    Delta,
    Event,
    FunctionDelta,
    Logprobs,
)
from enclave_server.chat.dialects.dialect import StreamReader
from enclave_server.chat.errors import ChatError, Failure, UpstreamError
from enclave_server.chat.spoken import Spoken
from enclave_server.chat.surfaces.surface import Signature

# An event of an upstream above this is read elsewhere, and an answer above it signed there. The
# worst event of this size takes 10 milliseconds.
LARGE_BYTES = 64 * 1024

# What is passed on in one turn: characters of texts, or octets of likelihoods.
SLICE = 32 * 1024

# Parts, fragments of calls or states in one slice; the whole of them is well below a millisecond.
SLICE_PARTS = 128

# What an event takes while it is read elsewhere: as it came, as it is sent, and as it comes back.
EVENT_COPIES = 3

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Event)

Sliceable = TypeVar("Sliceable", str, list[Any])


class Outside(Protocol):
    """Does in another process what would hold the event loop; raises ChatError."""

    async def read(
        self, reader: StreamReader, octets: bytes
    ) -> tuple[Sequence[bytes], ChatError | None]:
        """Return slices of what the large event in `octets` says, and the fault in it if any.

        `reader` goes on from the state after it.
        """
        ...

    async def sign(self, choices: Sequence[Spoken]) -> Signature:
        """Return the signature over `choices`, whose calls can be read."""
        ...


def encode_slices(event: Event) -> Iterator[bytes]:
    """Yield `event` in slices as `decode_slice` takes them; raises UpstreamError."""
    for piece in slices(event):
        yield _ENCODER.encode(piece)


def decode_slice(data: bytes) -> Event:
    """Return the event that was encoded."""
    return _DECODER.decode(data)


def slices(event: Event) -> Iterator[Event]:
    """Yield events that say in their order what `event` says; raises UpstreamError for no sense."""
    parts = [piece for part in event.choices for piece in _pieces(part)]
    for group in _groups(parts):
        yield Event(group)
    if event.thought is not None:
        yield Event(thought=event.thought)
    for start in range(0, len(event.states), SLICE_PARTS):
        yield Event(states=event.states[start : start + SLICE_PARTS])
    if event.usage is not None or event.ends:
        yield Event(usage=event.usage, ends=event.ends)


def _groups(parts: Sequence[ChoiceDelta]) -> Iterator[list[ChoiceDelta]]:
    group: list[ChoiceDelta] = []
    weight = 0
    for part in parts:
        each = _weight(part)
        if group and (weight + each > SLICE or len(group) == SLICE_PARTS):
            yield group
            group, weight = [], 0
        group.append(part)
        weight += each
    if group:
        yield group


def _weight(part: ChoiceDelta) -> int:
    delta = part.delta
    said = (delta.content, delta.reasoning_content, delta.refusal)
    weight = sum(len(text) for text in said if text)
    weight += sum(len(call.function.arguments or "") for call in delta.tool_calls or ())
    return weight + (0 if part.logprobs is None else _octets(part.logprobs))


def _pieces(part: ChoiceDelta) -> Iterator[ChoiceDelta]:
    """Yield `part` as it is if it is small, else in pieces: its role first, its end last."""
    if _weight(part) <= SLICE and len(part.delta.tool_calls or ()) <= SLICE_PARTS:
        yield part
        return
    delta, index = part.delta, part.index
    if delta.role is not None:
        yield ChoiceDelta(index, Delta(role=delta.role))
    for text in _cut(delta.reasoning_content or "", _count(delta.reasoning_content)):
        yield ChoiceDelta(index, Delta(reasoning_content=text))
    yield from _texts(part)
    for call in delta.tool_calls or ():
        for fragment in _fragments(call):
            yield ChoiceDelta(index, Delta(tool_calls=[fragment]))
    if part.finish_reason is not None:
        yield ChoiceDelta(index, finish_reason=part.finish_reason)


def _texts(part: ChoiceDelta) -> Iterator[ChoiceDelta]:
    """Yield text and refusal, each piece with its share of the likelihoods."""
    content, refusal, logprobs = part.delta.content, part.delta.refusal, part.logprobs
    count = max(_count(content), _count(refusal))
    if logprobs is not None:
        count = max(count, math.ceil(_octets(logprobs) / SLICE))
    shares: list[Logprobs | None] = [None] * count
    if logprobs is not None:
        shares = [*_shares(logprobs, count)]
    texts, refusals = _cut(content or "", count), _cut(refusal or "", count)
    for text, no, share in zip(texts, refusals, shares, strict=True):
        yield ChoiceDelta(part.index, Delta(content=text or None, refusal=no or None), share)


def _shares(logprobs: Logprobs, count: int) -> list[Logprobs]:
    """Return `logprobs` in so many pieces; UpstreamError for what nobody asked for."""
    shares = [Logprobs() for _ in range(count)]
    for name in Logprobs.__struct_fields__:
        for share, tokens in zip(shares, _cut(getattr(logprobs, name) or [], count), strict=True):
            setattr(share, name, tokens or None)
    if any(_octets(share) > 2 * LARGE_BYTES for share in shares):
        raise UpstreamError(Failure.BROKEN)  # a single token of kilobytes
    return shares


def _fragments(call: CallDelta) -> Iterator[CallDelta]:
    first, *others = _cut(call.function.arguments or "", max(1, _count(call.function.arguments)))
    function = FunctionDelta(call.function.name, first or call.function.arguments)
    yield CallDelta(call.index, call.id, call.type, function)
    for arguments in others:
        yield CallDelta(call.index, function=FunctionDelta(arguments=arguments))


def _count(text: str | None) -> int:
    return math.ceil(len(text or "") / SLICE)


def _cut(whole: Sliceable, count: int) -> list[Sliceable]:
    """Return `whole` in so many pieces of nearly one length."""
    places = [len(whole) * number // max(count, 1) for number in range(count + 1)]
    return [whole[start:end] for start, end in pairwise(places)]


def _octets(logprobs: Logprobs) -> int:
    return len(_ENCODER.encode(logprobs))
