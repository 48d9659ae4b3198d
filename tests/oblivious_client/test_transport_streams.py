"""The content of an answer as httpx reads it: in its order, and let go of when it is closed."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from oblivious_client.transport import AnswerStream, AsyncAnswerStream


class Outer(httpx.Response):
    """Counts how often it is closed."""

    closings = 0  # which httpx does itself at the start

    def __init__(self) -> None:
        super().__init__(200)
        self.closings = 0

    def close(self) -> None:
        self.closings += 1

    async def aclose(self) -> None:
        self.closings += 1


def test_content_comes_in_its_order_and_closing_closes_the_connection() -> None:
    outer = Outer()
    stream = AnswerStream(outer, b"early", iter([b"later", b"last"]))
    assert list(stream) == [b"early", b"later", b"last"]
    assert outer.closings == 0
    stream.close()
    assert outer.closings == 1


def test_the_twin_does_the_same() -> None:
    async def later() -> AsyncIterator[bytes]:
        for piece in (b"later", b"last"):
            yield piece

    async def run() -> None:
        outer = Outer()
        stream = AsyncAnswerStream(outer, b"early", later())
        assert [piece async for piece in stream] == [b"early", b"later", b"last"]
        assert outer.closings == 0
        await stream.aclose()
        assert outer.closings == 1

    asyncio.run(run())


def test_a_fault_in_what_comes_later_is_told() -> None:
    def later() -> "list[bytes]":
        raise ValueError("no end")

    stream = AnswerStream(Outer(), b"early", (piece for each in [later] for piece in each()))
    pieces = iter(stream)
    assert next(pieces) == b"early"
    with pytest.raises(ValueError, match="no end"):
        next(pieces)
