"""Drives one streamed answer: as fast as its reader takes it, and no faster."""

import asyncio
from collections.abc import AsyncIterator

from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.recoder import Recoder
from enclave_server.chat.upstream.connections import UpstreamResponse


class EventStream(AsyncIterator[bytes]):
    """The events of an answer, signed at the end. Close it if it is not read to its end.

    A failure becomes what the surface says then, after which the stream ends.
    """

    def __init__(self, response: UpstreamResponse, recoder: Recoder) -> None:
        self._response, self._recoder = response, recoder
        self._concluding = False  # the end is on its way
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

        Once `is_ending`, the rest must be awaited: it is the end, or too large to be read here.
        """
        if self._recoder.has_more:
            return b"" if self._recoder.waits else self._told(self._recoder.go_on())
        try:
            piece = self._response.take()
        except UpstreamError as error:
            return self._fail(error)
        if piece:
            return self._told(self._recoder.feed(piece))
        self.is_ending = piece is None
        return b""

    async def aclose(self) -> None:
        """Stop: an upstream that has not finished sees its connection close."""
        self._ended = True
        self._recoder.close()
        await self._response.close()

    async def _next(self) -> bytes:
        """Return what comes next; between two slices of what is long the event loop goes round."""
        while True:
            if text := await (self._more() if self._recoder.has_more else self._arriving()):
                return text
            if self._ended:
                return b""

    async def _more(self) -> bytes:
        if self._recoder.waits:
            await self._recoder.go_outside()
        else:
            await asyncio.sleep(0)
        return self._went_on(self._recoder.go_on())

    async def _arriving(self) -> bytes:
        if not self._recoder.is_ending:
            piece = await self._response.next_piece()
            if piece is not None:
                return self._told(self._recoder.feed(piece))
        self._concluding = True
        self._recoder.end()
        return self._went_on(self._recoder.go_on())

    def _went_on(self, text: bytes) -> bytes:
        """Return what has come of a long work, and note whether it was the end."""
        self._told(text)
        if self._concluding and not (self._recoder.has_more or self._recoder.failed):
            self._ended = True
            self._complete = not self._recoder.was_cut  # else its upstream goes on and is left
        return text

    def _told(self, text: bytes) -> bytes:
        self.is_ending = self._recoder.waits or (
            self._recoder.is_ending and not self._recoder.has_more
        )
        self._ended = self._recoder.failed
        return text

    def _fail(self, error: UpstreamError) -> bytes:
        self._ended = self.is_ending = True
        return self._recoder.fail(error)

    async def _end(self) -> None:
        try:
            if self._complete:
                await self._response.end()
        finally:
            self._complete = False
            self._recoder.close()
            await self._response.close()
