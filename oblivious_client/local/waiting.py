"""A stream that is silent, kept alive: its head at once, and a comment now and then.

Models that think say nothing for minutes, while the programs that wait have timeouts for the head
of an answer and between two octets of it. What is written here goes no further than this machine:
on the way through the relay nothing changes by it.

For a moment the head waits all the same, so that what is refused at once is told by its status, on
which SDKs act; what fails later is an event of the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from oblivious_client.local.messages import LocalResponse, Pieces

HEAD_SECONDS = 2.0
"""For an error to come before the head of a stream is written."""

COMMENT_SECONDS = 15.0
"""Of silence after which a comment is written."""

COMMENT = b": waiting\n\n"


class Waiting:
    """The pieces of a stream whose answer has not begun, if it has pieces; else its failure.

    `fail` returns the event for an answer in one piece, which is an error. Closing it leaves
    nothing behind, whether it was read or not.
    """

    def __init__(
        self, asking: asyncio.Task[LocalResponse], fail: Callable[[LocalResponse], bytes]
    ) -> None:
        self._asking = asking
        self._fail = fail

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield a comment, then the pieces; ConnectionAbortedError behind a failure."""
        yield COMMENT
        response = await self._asking
        if isinstance(response.body, bytes):
            yield self._fail(response)
            raise ConnectionAbortedError
        async for piece in response.body:
            yield piece

    async def aclose(self) -> None:
        """Stop asking, or the answer."""
        self._asking.cancel()
        (ended,) = await asyncio.gather(self._asking, return_exceptions=True)
        if isinstance(ended, LocalResponse) and not isinstance(ended.body, bytes):
            await ended.body.aclose()


class Alive:
    """Pieces with a comment wherever none came for so long; closing it closes them."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._following: asyncio.Task[bytes | None] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces and the comments."""
        pieces = aiter(self._pieces)
        while True:
            self._following = asyncio.ensure_future(_following(pieces))
            while not self._following.done():
                await asyncio.wait({self._following}, timeout=COMMENT_SECONDS)
                if not self._following.done():
                    yield COMMENT
            piece = self._following.result()
            if piece is None:
                return
            yield piece

    async def aclose(self) -> None:
        """Close the pieces, once nobody waits for the next."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._pieces.aclose()


async def at_once(asking: asyncio.Task[LocalResponse]) -> LocalResponse | None:
    """Return the answer if it begins within HEAD_SECONDS, else None, and it is still asked for."""
    try:
        await asyncio.wait({asking}, timeout=HEAD_SECONDS)
    except asyncio.CancelledError:
        asking.cancel()
        raise
    return await asking if asking.done() else None


async def _following(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
