"""Sealed answers on a clock: at every tick one chunk, all of one size, whatever is being said.

Sizes and filling are those of `protocol.shaping`; here is the time. A chunk goes out at each tick
from the first after the request was opened, until the count of ticks is one of the series: so
neither thinking time, nor an error, nor the pace of the words shows, only a rounded duration.

A peer that reads too slowly misses ticks, which shows what the network shows anyway: that it is
slow. Nothing of the answer is lost; what waits is bounded, and then the upstream waits too.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from enclave_server.gateway.ticker import Ticker
from enclave_server.memory import Holding, Memory
from protocol.binary_http import Response, ResponseEncoder, field_value
from protocol.chunked import ResponseSealer
from protocol.gateway import Answer, ChunkedExchange, StreamedResponse, problem
from protocol.registry import EVENT_STREAM, media_type
from protocol.shaping import AnswerShaper, GeometricSeries, Mark

Report = Callable[[Exception], None]

# Chunks that may wait before the source does: enough that a burst never leaves a tick unused.
WAITING_CHUNKS = 4

# Sealed in one turn where nothing is padded: less than a millisecond.
TURN_BYTES = 256 * 1024

# A whole answer, as it came and as it is framed.
WHOLE_COPIES = 2

# The end of a stream that failed where nobody expected it. The blank line ends what was begun.
BROKEN_OFF = (
    b'\n\ndata: {"error":{"message":"The answer broke off.","type":"server_error",'
    b'"param":null,"code":null}}\n\n'
)


@runtime_checkable
class Closable(Protocol):
    """An iterator that holds something until it is read to its end, or closed."""

    async def aclose(self) -> None:
        """Let go."""


@runtime_checkable
class Collectable(Protocol):
    """An iterator that can be asked for what is there; once it `is_ending`, it must be awaited."""

    is_ending: bool

    def collect(self) -> bytes:
        """Return what is there, be it nothing."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What all answers have in common to whoever watches them."""

    tick_seconds: float
    chunk_bytes: int
    series: GeometricSeries


class Pacer:
    """Yields each answer in chunks of one shape; all streams of a worker tick together."""

    def __init__(self, shape: Shape, report: Report, memory: Memory | None = None) -> None:
        """Whole answers that wait for their ticks take of `memory`, by default one of its own."""
        self._shape = shape
        self._report = report
        self._memory = memory or Memory()
        self._ticker = Ticker(shape.tick_seconds)

    async def __call__(
        self, exchange: ChunkedExchange, begins: float = -math.inf
    ) -> AsyncIterator[bytes]:
        """Yield a sealed chunk at every tick, from the first at which the loop's clock is `begins`.

        Until then what was asked is read, which takes longer or shorter. Closing the iterator
        closes the upstream.
        """
        holding = Holding(self._memory)
        stream = _Stream(self._shape, exchange.sealer, holding)
        source = asyncio.create_task(stream.fill(exchange, self._report))
        try:
            if (rest := begins - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(rest)
            while not stream.is_final:
                yield await self._ticker.next(stream.seal, stream.collect)
                stream.make_room()
                if source.done():
                    source.result()  # a fault in it must not go on as padding without end
        finally:
            source.cancel()
            await asyncio.wait((source,))
            holding.give_back()


class _Stream:
    """One answer on its way: filled as it comes about, emptied by the ticks."""

    __slots__ = (
        "_collected",
        "_failure",
        "_holding",
        "_room",
        "_sealer",
        "_shaper",
        "_threshold",
        "is_final",
    )

    def __init__(self, shape: Shape, sealer: ResponseSealer, holding: Holding) -> None:
        self._holding = holding
        self._shaper = AnswerShaper(shape.chunk_bytes, shape.series)
        self._sealer = sealer
        self._threshold = WAITING_CHUNKS * shape.chunk_bytes
        self._room: asyncio.Future[None] | None = None  # while the source has to wait
        self._collected: Collectable | None = None  # while the ticks ask the source
        self._failure: Exception | None = None  # of the source when it was asked
        self.is_final = False

    def seal(self) -> bytes:
        """Return the next chunk."""
        piece, mark = self._shaper.tick()
        if mark is Mark.CONTINUES:
            return self._sealer.seal(piece)
        self.is_final = True
        return self._sealer.finish(piece)

    def collect(self) -> None:
        """Take what the source has, unless enough is waiting."""
        if self._collected is None or self._shaper.waiting > self._threshold:
            return
        try:
            if piece := self._collected.collect():
                self._shaper.content(piece)
            if self._collected.is_ending:
                self._collected = None
        except Exception as failure:
            self._collected, self._failure = None, failure

    def make_room(self) -> None:
        """Let the source go on if enough has been sent, and the rest of it must be awaited.

        Called when the chunks of a tick are on their way, which nothing may delay.
        """
        if self._room is None or self._collected is not None:
            return
        if self._shaper.waiting > self._threshold:
            return
        room, self._room = self._room, None
        if self._failure is None:
            room.set_result(None)
        else:
            room.set_exception(self._failure)

    async def _pause(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        await self._room

    async def fill(self, exchange: ChunkedExchange, report: Report) -> None:
        """Take the answer as it comes about, and its end."""
        answer = await exchange.respond()
        if isinstance(answer, StreamedResponse) and _is_event_stream(answer):
            await self._fill_with_events(answer, report)
        else:
            # It stays for as long as its ticks take.
            self._shaper.answer(_held(await _whole(answer, report), self._holding))

    async def _fill_with_events(self, answer: StreamedResponse, report: Report) -> None:
        self._shaper.head(answer.status, answer.headers)
        try:
            if isinstance(answer.content, Collectable):
                # Waking this task for what comes would cost 20 µs an event more.
                self._collected = answer.content
                await self._pause()
            async for piece in answer.content:
                self._shaper.content(piece)
                if self._shaper.waiting > self._threshold:
                    await self._pause()
        except Exception as failure:
            report(failure)
            self._shaper.content(BROKEN_OFF)
        finally:
            await _close(answer.content)
        self._shaper.end()


async def unpadded(
    exchange: ChunkedExchange, begins: float = -math.inf, memory: Memory | None = None
) -> AsyncIterator[bytes]:
    """Yield an answer in sealed chunks as it comes: sizes and times show through.

    So it begins when it will, whatever `begins` says. A whole answer takes of `memory` until its
    reader has it, by default of one of its own.
    """
    encoder, sealer, holding = ResponseEncoder(), exchange.sealer, Holding(memory or Memory())
    answer = await exchange.respond()
    if isinstance(answer, Response):
        answer = _held(answer, holding)
    start = sealer.seal(encoder.start(answer.status, answer.headers))
    try:
        if isinstance(answer, Response):
            async for piece in _in_turns(answer.content):
                yield start + sealer.seal(encoder.content(piece))
                start = b""
        else:
            yield start
            async for content in answer.content:
                async for piece in _in_turns(content):
                    yield sealer.seal(encoder.content(piece))
    finally:
        holding.give_back()
        if isinstance(answer, StreamedResponse):
            await _close(answer.content)
    yield sealer.finish(encoder.finish())


async def _in_turns(content: bytes) -> AsyncIterator[bytes]:
    """Yield `content`, in pieces between which the event loop goes round if it is long."""
    yield content[:TURN_BYTES]
    for start in range(TURN_BYTES, len(content), TURN_BYTES):
        await asyncio.sleep(0)
        yield content[start : start + TURN_BYTES]


def _is_event_stream(answer: StreamedResponse) -> bool:
    return media_type(field_value(answer.headers, b"content-type")) == EVENT_STREAM


async def _whole(answer: Answer, report: Report) -> Response:
    """Return an answer that says nothing before its end, as what it turned out to be."""
    if isinstance(answer, Response):
        return answer
    try:
        content = b"".join([piece async for piece in answer.content])
        return Response(answer.status, answer.headers, content)
    except Exception as failure:
        report(failure)
        return problem(500)
    finally:
        await _close(answer.content)


def _held(answer: Response, holding: Holding) -> Response:
    """Return `answer`, which `holding` takes, or a 503 if there is no room."""
    return answer if holding.takes(WHOLE_COPIES * len(answer.content)) else problem(503)


async def _close(content: AsyncIterator[bytes]) -> None:
    if isinstance(content, Closable):
        await content.aclose()
