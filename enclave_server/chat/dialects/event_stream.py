"""Drives one streamed answer: as fast as its reader takes it, and no faster."""

import asyncio
from collections.abc import AsyncIterator

from enclave_server.chat.dialects.recoder import Recoder, error_event
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.upstream.connections import UpstreamResponse
from protocol.event_stream import EventParser, EventTooLarge

# After `[DONE]` only the end of the HTTP message is missing, without which the connection is lost.
END_SECONDS = 0.05


class EventStream(AsyncIterator[bytes]):
    """The events of an answer, signed at the end. Close it if it is not read to its end.

    A failure becomes an error event, after which the stream ends without `[DONE]`.
    """

    def __init__(self, answer: UpstreamResponse, recoder: Recoder) -> None:
        self._answer, self._recoder = answer, recoder
        self._parser = EventParser()
        self._complete = False
        self._ended = False
        self.is_ending = False

    async def __anext__(self) -> bytes:
        """Return one or more whole events; raises StopAsyncIteration after the last."""
        if self._ended:
            await self._end()
            raise StopAsyncIteration
        try:
            return await self._next()
        except UpstreamError as error:
            return self._fail(error)
        except BaseException:
            await self.aclose()
            raise

    def collect(self) -> bytes:
        """Return whole events out of what has arrived, be it nothing, without waiting.

        Once `is_ending`, the rest must be awaited.
        """
        try:
            piece = self._answer.take()
        except UpstreamError as error:
            return self._fail(error)
        if piece:
            return self._recode(piece)
        self.is_ending = piece is None
        return b""

    async def aclose(self) -> None:
        """Stop: an upstream that has not finished sees its connection close."""
        self._ended = True
        await self._answer.close()

    async def _next(self) -> bytes:
        while not self._recoder.done and not self._ended:
            piece = await self._answer.next_piece()
            if piece is None:
                break
            if text := self._recode(piece):
                return text
        text = self._recoder.finish()
        self._complete = self._ended = True
        return text

    def _recode(self, piece: bytes) -> bytes:
        text = bytearray()
        try:
            for event in self._parser.feed(piece):
                text += self._recoder.feed(event.data)
        except UpstreamError as error:
            text += self._fail(error)
        except EventTooLarge:
            text += self._fail(UpstreamError(Failure.BROKEN))
        self.is_ending = self._recoder.done or self._ended
        return bytes(text)

    def _fail(self, error: UpstreamError) -> bytes:
        self._ended = self.is_ending = True
        return error_event(error)

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(END_SECONDS):
                while self._complete and await self._answer.next_piece() is not None:
                    pass
        except (UpstreamError, TimeoutError):
            pass  # the answer is complete; only its connection cannot be used again
        finally:
            self._complete = False
            await self._answer.close()
