"""Leaving a stream: the peer hears of it, what it still says is dropped, and its end is told."""

import asyncio
import socket

import pytest

from enclave_server.chat.upstream.stream import READ_AHEAD, Stream
from tests.support.upstream_connection import DEADLINE, pair


@pytest.mark.parametrize("paused", [False, True])
def test_who_leaves_is_told_when_the_peer_has_ended(paused: bool) -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        if paused:
            assert stream.ask() is None  # from here on the event loop looks away
        stream.leave(ended.set)
        async with asyncio.timeout(DEADLINE):
            assert await loop.sock_recv(theirs, 1) == b""  # its half is closed
            await loop.sock_sendall(theirs, b"x" * 4 * READ_AHEAD)
            assert not ended.is_set()
            theirs.shutdown(socket.SHUT_WR)
            await ended.wait()
        assert not stream._buffer

    asyncio.run(pair(task))


def test_what_had_arrived_is_dropped() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        ended = asyncio.Event()
        theirs.send(b"unread")
        async with asyncio.timeout(DEADLINE):
            await stream.arrival()
            stream.leave(ended.set)
            assert stream.take_arrived() is None
            theirs.close()
            await ended.wait()

    asyncio.run(pair(task))


def test_a_stream_that_is_closed_is_left_at_once() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        told: list[str] = []
        stream.close()
        stream.leave(lambda: told.append("ended"))
        assert told == ["ended"]
        stream.close()
        assert told == ["ended"]  # once

    asyncio.run(pair(task))
