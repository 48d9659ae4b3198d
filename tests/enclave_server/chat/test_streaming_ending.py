"""How a stream ends whose upstream fails: nothing more is read, and all is let go."""

import asyncio
from typing import Any, cast

import pytest

from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.recoder import Recoder
from enclave_server.chat.streaming import EventStream
from enclave_server.chat.upstream.connections import UpstreamResponse


class Response:
    """Gives out pieces; counts what it is asked for."""

    def __init__(self, *pieces: bytes | UpstreamError | None) -> None:
        self._pieces = list(pieces)
        self.asked = 0
        self.closed = 0

    def take(self) -> bytes | None:
        self.asked += 1
        piece = self._pieces.pop(0)
        if isinstance(piece, UpstreamError):
            raise piece
        return piece

    async def next_piece(self) -> bytes | None:
        return self.take()

    async def end(self) -> None:
        await UpstreamResponse.end(cast(UpstreamResponse, self))

    async def close(self) -> None:
        self.closed += 1


class Words:
    """A recoder that changes nothing: `.` ends an answer, `!` is one that fails."""

    def __init__(self) -> None:
        self.failed = self.is_ending = self.waits = self.was_cut = False
        self.has_more = False
        self.closed = 0

    def feed(self, piece: bytes) -> bytes:
        self.failed = piece == b"!"
        self.is_ending = self.failed or piece == b"."
        return piece

    def end(self) -> None:
        self.has_more = True

    def go_on(self) -> bytes:
        self.has_more = False
        return b"signed"

    def fail(self, error: UpstreamError) -> bytes:
        self.failed = self.is_ending = True
        return error.failure.name.encode()

    def close(self) -> None:
        self.closed += 1


def stream(*pieces: bytes | UpstreamError | None) -> tuple[EventStream, Response, Words]:
    response, words = Response(*pieces), Words()
    made = EventStream(cast(UpstreamResponse, response), cast(Recoder, words))
    return made, response, words


async def rest(content: EventStream) -> list[bytes]:
    return [piece async for piece in content]


BROKEN = UpstreamError(Failure.BROKEN)


@pytest.mark.parametrize("last", [BROKEN, b"!"], ids=["upstream", "answer"])
def test_after_a_failure_nothing_is_read_and_all_is_let_go(last: Any) -> None:
    said = b"BROKEN" if last is BROKEN else b"!"
    collected, response, words = stream(b"a", last)
    assert [collected.collect(), collected.collect()] == [b"a", said]
    assert collected.is_ending
    assert asyncio.run(rest(collected)) == []
    assert (response.asked, response.closed, words.closed) == (2, 1, 1)
    awaited, response, words = stream(b"a", last)
    assert asyncio.run(rest(awaited)) == [b"a", said]
    assert (response.asked, response.closed, words.closed) == (2, 1, 1)


def test_after_the_last_event_the_end_of_the_message_is_awaited() -> None:
    content, response, words = stream(b"a", b".", b"trailer", None)
    assert asyncio.run(rest(content)) == [b"a", b".", b"signed"]
    assert (response.asked, response.closed, words.closed) == (4, 1, 1)


def test_a_fault_in_that_end_harms_nobody() -> None:
    content, response, words = stream(b".", BROKEN)
    assert asyncio.run(rest(content)) == [b".", b"signed"]
    assert (response.asked, response.closed, words.closed) == (2, 1, 1)


def test_a_message_that_does_not_end_is_not_awaited_for_long() -> None:
    async def scenario() -> None:
        content, response, _ = stream(b".")

        async def silent() -> bytes | None:
            await asyncio.sleep(600)
            return None

        assert await anext(content) == b"."
        assert await anext(content) == b"signed"
        response.next_piece = silent  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await rest(content) == []
        assert loop.time() - begun < 60
        assert response.closed == 1

    asyncio.run(scenario())


def test_what_is_collected_says_when_the_rest_must_be_awaited() -> None:
    content, response, words = stream(b"", b"a", None)
    assert [content.collect(), content.is_ending] == [b"", False]
    assert [content.collect(), content.is_ending] == [b"a", False]
    assert [content.collect(), content.is_ending] == [b"", True]
    ending, _, _ = stream(b".")
    assert [ending.collect(), ending.is_ending] == [b".", True]
    assert (response.closed, words.closed) == (0, 0)


def test_closing_lets_go_of_all_and_nothing_comes_after() -> None:
    async def scenario() -> None:
        content, response, words = stream(b"a", b"b")
        assert await anext(content) == b"a"
        await content.aclose()
        assert (response.closed, words.closed) == (1, 1)
        assert await rest(content) == []
        assert response.asked == 1

    asyncio.run(scenario())


def test_whoever_is_cancelled_lets_go_at_once() -> None:
    async def scenario() -> None:
        content, response, words = stream()

        async def cancelled() -> bytes | None:
            raise asyncio.CancelledError

        response.next_piece = cancelled  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await anext(content)
        assert (response.closed, words.closed) == (1, 1)

    asyncio.run(scenario())
