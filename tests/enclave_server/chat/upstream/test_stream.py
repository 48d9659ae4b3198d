"""The stream itself: backpressure, the end, and taking what has arrived without waiting."""

import asyncio
import socket

import pytest

from enclave_server.chat.upstream.dialing import connect
from enclave_server.chat.upstream.stream import KERNEL_BYTES, PIECE_BYTES, READ_AHEAD, Stream
from tests.support.upstream_connection import DEADLINE, pair, read, upstream_at

RESET = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")


def test_reading_stops_when_nobody_reads() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        size = 4 * 1024 * 1024
        sending = asyncio.ensure_future(loop.sock_sendall(theirs, b"x" * size))
        await asyncio.sleep(0.1)
        assert not sending.done()
        assert READ_AHEAD <= len(stream._buffer) < 2 * READ_AHEAD
        received = 0
        while received < size:
            received += len(await read(stream))
        await sending

    asyncio.run(pair(task))


def test_kernel_keeps_little_of_what_nobody_reads() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            stream = await connect(
                upstream_at(f"tcp://127.0.0.1:{listener.getsockname()[1]}"), None
            )
            size = stream._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert size <= 2 * KERNEL_BYTES  # the kernel doubles it for its own book-keeping
            stream.close()

    asyncio.run(scenario())


def test_nothing_is_sent_once_the_stream_has_ended() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        assert stream.send(b"first")
        theirs.close()
        assert await read_to_end(stream) == b""
        assert not stream.send(b"second")

    asyncio.run(pair(task))


LARGE = bytes(range(256)) * (64 * PIECE_BYTES // 256)


def test_no_more_is_handed_over_than_the_peer_takes() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        sending = asyncio.ensure_future(stream.send_in_turns(LARGE))
        most, received = 0, bytearray()
        while len(received) < len(LARGE):
            received += await loop.sock_recv(theirs, PIECE_BYTES)
            most = max(most, stream._transport.get_write_buffer_size())
        assert await sending
        assert bytes(received) == LARGE
        assert 0 < most <= 2 * PIECE_BYTES

    asyncio.run(pair(task))


def test_a_peer_that_answers_before_it_has_taken_all_is_heard() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        sending = asyncio.ensure_future(stream.send_in_turns(LARGE))
        await asyncio.sleep(0.05)
        assert not sending.done()
        theirs.send(b"early")
        assert await sending
        assert await read(stream) == b"early"

    asyncio.run(pair(task))


@pytest.mark.parametrize("how", ["close", "expire"])
def test_a_peer_that_takes_nothing_is_waited_for_until_the_end(how: str) -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        sending = asyncio.ensure_future(stream.send_in_turns(LARGE))
        await asyncio.sleep(0.05)
        assert not sending.done()
        theirs.close() if how == "close" else stream.expire()
        assert await sending
        with pytest.raises(ConnectionError if how == "close" else TimeoutError):
            await read(stream)

    asyncio.run(pair(task))


async def read_to_end(stream: Stream) -> bytes:
    data = b""
    try:
        while piece := await read(stream):
            data += piece
    except ConnectionError:  # with something unread at its end, a Unix socket is reset
        pass
    return data


def test_nothing_is_sent_once_the_stream_was_closed() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        stream.close()
        assert not stream.send(b"x")
        with pytest.raises(ConnectionError):
            stream.take_arrived()

    asyncio.run(pair(task))


def test_stream_is_quiet_when_all_is_sent_and_taken() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        assert stream.is_quiet()
        stream.send(b"x" * 4 * 1024 * 1024)
        assert not stream.is_quiet()
        while not stream.is_quiet():
            await asyncio.get_running_loop().sock_recv(theirs, 1 << 20)
        theirs.send(b"abc")
        await stream.arrival()
        assert not stream.is_quiet()
        assert stream.take_arrived() == b"abc"
        assert stream.is_quiet()
        theirs.close()
        await stream.arrival()
        assert not stream.is_quiet()

    asyncio.run(pair(task))


def test_what_arrived_is_taken_before_the_end() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        assert stream.take_arrived() is None
        theirs.send(b"abcdefg")
        theirs.close()
        assert await read(stream) == b"abcdefg"
        for _ in range(2):
            assert await read(stream) == b""

    asyncio.run(pair(task))


def test_stream_is_closed_when_the_peer_has_closed_its_side() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        theirs.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(DEADLINE):
            assert await asyncio.get_running_loop().sock_recv(theirs, 1) == b""

    asyncio.run(pair(task))


def test_reset_is_a_connection_error() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
            stream = await connect(upstream_at(address), None)
            accepted, _ = listener.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            accepted.close()
            for _ in range(2):
                with pytest.raises(ConnectionError):
                    await read(stream)
            stream.close()

    asyncio.run(scenario())


def test_asking_takes_what_waits_in_the_kernel() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        theirs.send(b"read before")
        await asyncio.sleep(0.01)
        assert stream.ask() == b"read before"
        assert stream.ask() is None
        theirs.send(b"abc" * READ_AHEAD)
        await asyncio.sleep(0.01)
        assert not stream._buffer  # the event loop looks away
        taken = [stream.ask() for _ in range(4)]
        assert [len(piece or b"") for piece in taken] == [READ_AHEAD] * 3 + [0]
        assert b"".join(filter(None, taken)) == b"abc" * READ_AHEAD
        theirs.close()
        assert stream.ask() == stream.ask() == b""
        assert await read(stream) == b""

    asyncio.run(pair(task))


def test_who_has_asked_can_wait_again() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(2):
            assert stream.ask() is None
            loop.call_later(0.01, theirs.send, b"later")
            assert await read(stream) == b"later"
        assert stream.take_arrived() is None

    asyncio.run(pair(task))


def test_asking_meets_a_reset() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        assert stream.ask() is None
        stream.send(b"nobody reads this")
        theirs.close()  # with something unread: a reset
        for _ in range(2):
            with pytest.raises(ConnectionError):
                stream.ask()

    asyncio.run(pair(task))


def test_resting_stream_tells_of_what_arrives_and_of_the_end() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        told: list[Stream] = []
        assert stream.ask() is None  # the event loop looks away
        stream.rest(told.append)
        theirs.send(b"unasked")
        await asyncio.sleep(0.02)
        assert told == [stream]
        theirs.close()
        await asyncio.sleep(0.02)
        assert told[1:] == [stream]

    asyncio.run(pair(task))


def test_who_closes_a_resting_stream_is_not_told() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        told: list[Stream] = []
        stream.rest(told.append)
        stream.close()
        await asyncio.sleep(0)
        assert told == []

    asyncio.run(pair(task))


def test_stream_is_usable_after_a_rest_that_nothing_disturbed() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        told: list[Stream] = []
        stream.rest(told.append)
        assert stream.is_usable()
        theirs.send(b"answer")
        assert await read(stream) == b"answer"
        assert told == []  # it no longer rests

    asyncio.run(pair(task))


@pytest.mark.parametrize("disturbed", [b"unasked", b""])
def test_stream_is_not_usable_if_the_kernel_knows_better(disturbed: bytes) -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        stream.rest(lambda _: None)
        if disturbed:
            theirs.send(disturbed)
        else:
            theirs.close()
        assert not stream.is_usable()  # without a turn of the event loop

    asyncio.run(pair(task))


def test_who_waits_learns_that_the_stream_was_given_up() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        asyncio.get_running_loop().call_later(0.01, stream.expire)
        with pytest.raises(TimeoutError):
            await read(stream)
        with pytest.raises(TimeoutError):
            stream.ask()
        async with asyncio.timeout(DEADLINE):
            assert await asyncio.get_running_loop().sock_recv(theirs, 1) == b""

    asyncio.run(pair(task))


def test_who_no_longer_waits_is_not_woken() -> None:
    async def task(stream: Stream, theirs: socket.socket) -> None:
        waiting = asyncio.ensure_future(stream.arrival())
        await asyncio.sleep(0)
        waiting.cancel()
        theirs.send(b"x")
        await asyncio.gather(waiting, return_exceptions=True)
        assert await read(stream) == b"x"

    asyncio.run(pair(task))


def test_only_a_stream_transport_is_taken() -> None:
    with pytest.raises(TypeError):
        Stream().connection_made(asyncio.BaseTransport())
