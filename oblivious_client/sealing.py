"""Sealed requests and their answers: whole (RFC 9458) or chunked (its chunked successor).

Sealing consumes a request and returns the only thing that can open its answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from oblivious_client.errors import AnswerTruncated, AnswerUnreadable
from oblivious_client.framing import Framing as Framing
from protocol import chunked, encapsulation
from protocol.binary_http import (
    Event,
    Request,
    ResponseDecoder,
    ResponseHead,
    decode_response,
    encode_request,
)
from protocol.errors import ProtocolError, TruncatedMessage
from protocol.key_config import KeyConfig
from protocol.padding import bucket

# The draft's recommended chunk size, which every recipient must accept.
CHUNK = 16384


class AnswerReader(Protocol):
    """Opens an answer as it comes: the end counts only once `finish` has returned."""

    def feed(self, data: bytes) -> list[Event]:
        """Return what `data` completes; raises AnswerUnreadable."""

    def finish(self) -> list[Event]:
        """Return the rest; raises AnswerTruncated or AnswerUnreadable."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed request, in pieces, and the reader of its answer."""

    pieces: Iterator[bytes]
    reader: AnswerReader


def seal(config: KeyConfig, request: Request, framing: Framing) -> Sealed:
    """Seal `request` to `config`, padded so that its length tells little."""
    plain = encode_request(request, pad_to=bucket(len(encode_request(request))))
    if framing is Framing.WHOLE:
        data, context = encapsulation.encapsulate_request(config, plain)
        return Sealed(iter((data,)), WholeAnswer(context))
    sealer, chunked_context = chunked.encapsulate_request(config)
    return Sealed(_chunks(sealer, plain), ChunkedAnswer(chunked_context))


def _chunks(sealer: chunked.RequestSealer, plain: bytes) -> Iterator[bytes]:
    last = (len(plain) - 1) // CHUNK * CHUNK
    for start in range(0, last, CHUNK):
        yield sealer.seal(plain[start : start + CHUNK])
    yield sealer.finish(plain[last:])


class WholeAnswer:
    """Reads an answer that opens as one piece."""

    def __init__(self, context: encapsulation.ClientContext) -> None:
        self._context = context
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """Keep `data`: nothing of it can be trusted before the end."""
        self._data += data
        return []

    def finish(self) -> list[Event]:
        """Open the answer."""
        try:
            response = decode_response(self._context.open_response(bytes(self._data)))
        except ProtocolError as error:
            raise AnswerUnreadable("the sealed answer does not open") from error
        return [ResponseHead(response.status, response.headers), response.content]


class ChunkedAnswer:
    """Reads an answer chunk by chunk; each piece has verified before it is returned."""

    def __init__(self, context: chunked.ClientContext) -> None:
        self._opener = context.open_response()
        self._decoder = ResponseDecoder()

    def feed(self, data: bytes) -> list[Event]:
        """Open what `data` completes."""
        try:
            return [
                event for piece in self._opener.feed(data) for event in self._decoder.feed(piece)
            ]
        except ProtocolError as error:
            raise AnswerUnreadable("a chunk of the sealed answer does not open") from error

    def finish(self) -> list[Event]:
        """Open the final chunk; without it the answer is not complete."""
        try:
            events = self._decoder.feed(self._opener.finish())
            return [*events, *self._decoder.finish()]
        except TruncatedMessage as error:
            raise AnswerTruncated from error
        except ProtocolError as error:
            raise AnswerUnreadable("the end of the sealed answer does not open") from error
