"""Answers at the socket: whole, at once and streamed, to peers that read slowly or not at all."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from enclave_server.http.answering import PIECE_BYTES, WRITE_BUFFER_BYTES
from enclave_server.http.messages import OuterRequest, OuterResponse
from tests.support.outer_http import FAMILIES, MIB, QUICK, Fountain, get, settled
from tests.support.sockets import Peer, Recorder, Serving, run, serving


def test_the_answer_to_head_has_no_content() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:
            peer = await server.connect()
            await peer.send(get("/long").replace(b"GET", b"HEAD") + get("/b"))
            assert (await peer.answer("HEAD")).headers["content-length"] == "14"
            assert (await peer.answer()).body == b"2 GET /b 0"

    run(main)


def test_a_handler_that_fails_is_a_500_without_a_reason() -> None:
    async def fail(request: OuterRequest) -> OuterResponse:
        raise ValueError(request.path.decode())

    async def main() -> None:
        async with serving(fail) as server:
            peer = await server.connect()
            for _ in range(2):
                await peer.send(get("/secret"))
                answer = await peer.answer()
                assert answer.status == 500
                assert answer.json == {"title": "Internal Server Error", "status": 500}
            assert "secret" not in server.log.getvalue()
            assert [line["kind"] for line in server.events()] == ["ValueError"] * 2

    run(main)


def test_an_answer_at_once_waits_for_its_reader() -> None:
    """What does not fit into asyncio's buffer is written as the peer reads."""
    size = 200 * WRITE_BUFFER_BYTES

    async def main() -> None:
        answer = OuterResponse(200, (), bytes(size), "large")
        async with serving(lambda _: answer, limits=QUICK) as server:
            peer = await server.connect(receive_buffer=4096)
            await peer.send(get())
            await server.until(lambda: server.server.counters.requests == 1)
            assert server.server.counters.answered == 0
            assert (await peer.answer()).body == bytes(size)
            await server.until(lambda: server.server.counters.answered == 1)

    run(main)


def test_of_a_long_answer_no_more_is_kept_than_a_piece() -> None:
    body = bytes(range(256)) * (16 * PIECE_BYTES // 256)

    async def main() -> None:
        answer = OuterResponse(200, (), body, "large")
        async with serving(lambda _: answer) as server:
            peer = await server.connect(receive_buffer=4096)
            await peer.send(get())
            await server.until(lambda: server.server.counters.requests == 1)
            (connection,) = server.server._shared.connections
            received, most = bytearray(), 0
            while not received.endswith(body):
                received += await peer.receive()
                most = max(most, connection._transport.get_write_buffer_size())
            head, _, _ = bytes(received).partition(b"\r\n\r\n")
            assert b"content-length: %d" % len(body) in head
            assert 0 < most <= WRITE_BUFFER_BYTES + PIECE_BYTES
            await peer.send(get())
            assert (await peer.answer()).body == body

    run(main)


def test_a_peer_that_leaves_amid_a_long_answer_ends_it() -> None:
    async def main() -> None:
        answer = OuterResponse(200, (), bytes(16 * PIECE_BYTES), "large")
        async with serving(lambda _: answer) as server:
            peer = await server.connect(receive_buffer=4096)
            await peer.send(get())
            await server.until(lambda: server.server.counters.requests == 1)
            peer.close()
            await server.until(lambda: server.server.counters.requests == 0)
            assert server.server.counters.abandoned == 1
            assert server.server.counters.buffered_bytes == 0

    run(main)


def test_a_handler_that_fails_at_once_is_a_500_without_a_reason() -> None:
    def fail(request: OuterRequest) -> OuterResponse:
        raise ValueError(request.path.decode())

    async def main() -> None:
        async with serving(fail) as server:
            peer = await server.connect()
            for _ in range(2):
                await peer.send(get("/secret"))
                assert (await peer.answer()).json == {
                    "title": "Internal Server Error",
                    "status": 500,
                }
            assert "secret" not in server.log.getvalue()
            assert [line["kind"] for line in server.events()] == ["ValueError"] * 2

    run(main)


@FAMILIES
def test_every_piece_is_one_chunk_and_goes_at_once(family: str) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def stream() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"piece %d" % number
                yield b""
                await go.wait()
                go.clear()

        async def handler(request: OuterRequest) -> OuterResponse:
            return OuterResponse(200, ((b"incremental", b"?1"),), stream(), "stream")

        async with serving(handler, family=family) as server:
            peer = await server.connect()
            await peer.send(get())
            first = await peer.receive()
            assert first.endswith(b"\r\n\r\n7\r\npiece 0\r\n")
            assert b"transfer-encoding: chunked\r\n" in first
            assert b"content-length" not in first
            go.set()
            assert await peer.receive() == b"7\r\npiece 1\r\n"
            go.set()
            assert await peer.receive() == b"7\r\npiece 2\r\n"
            go.set()
            assert await peer.receive() == b"0\r\n\r\n"
            await peer.send(get())
            assert (await peer.receive()).startswith(b"HTTP/1.1 200 OK\r\n")

    run(main)


def test_an_old_peer_gets_a_stream_until_the_end() -> None:
    async def main() -> None:
        async with serving(Fountain(3, 5)) as server:
            peer = await server.connect()
            await peer.send(get(version="1.0"))
            head, _, body = (await peer.read_to_end()).partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert body == b"x" * 15

    run(main)


def test_an_empty_stream_is_an_empty_answer() -> None:
    async def main() -> None:
        async with serving(Fountain(0, 5)) as server:
            peer = await server.connect()
            await peer.send(get() + get())
            assert [(await peer.answer()).body for _ in range(2)] == [b"", b""]

    run(main)


@FAMILIES
def test_a_slow_reader_slows_the_stream(family: str) -> None:
    async def main() -> None:
        fountain = Fountain(5_000, 4096)
        async with serving(fountain, family=family) as server:
            peer = await server.connect(receive_buffer=65536)
            await peer.send(get())
            await server.until(lambda: fountain.given > 5)
            stopped = await settled(lambda: fountain.given)
            assert stopped * 4096 < 8 * MIB  # the kernel's buffers and ours, of 20 MiB
            assert len((await peer.answer()).body) == 5_000 * 4096

    run(main)


def test_what_is_kept_for_slow_readers_is_bounded() -> None:
    async def main() -> None:
        fountain = Fountain(20_000, 4096)
        async with serving(fountain) as server:
            peers = [await server.connect() for _ in range(50)]
            for peer in peers:
                await peer.send(get())
            await server.until(lambda: fountain.given > 50)
            await settled(lambda: fountain.given)
            kept = unsent_bytes(server)
            assert len(kept) == 50
            assert max(kept) <= WRITE_BUFFER_BYTES + 2 * 4096

    run(main)


def unsent_bytes(server: Serving) -> list[int]:
    """Return how much of its answer each connection keeps."""
    connections = server.server._shared.connections
    return [connection._transport.get_write_buffer_size() for connection in connections]


@FAMILIES
@pytest.mark.parametrize("leave", [Peer.reset, Peer.close])
def test_a_peer_that_has_gone_ends_its_stream(family: str, leave: Callable[[Peer], None]) -> None:
    async def main() -> None:
        fountain = Fountain(1_000_000, 4096)
        async with serving(fountain, family=family) as server:
            peer = await server.connect()
            await peer.send(get())
            await peer.receive()
            leave(peer)
            await server.until(lambda: fountain.closed == 1)
            assert server.server.counters.abandoned == 1

    run(main)


def test_a_reader_that_stalls_is_cut_off() -> None:
    async def main() -> None:
        fountain = Fountain(1_000_000, 4096)
        async with serving(fountain, limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(get())
            await server.until(lambda: fountain.closed == 1)
            await server.until(lambda: server.server.counters.connections == 0)

    run(main)


@pytest.mark.parametrize("before", [0, 2])
def test_a_stream_that_fails_shows_as_truncated(before: int) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(before):
            yield b"piece"
        raise ValueError("secret")

    async def handler(request: OuterRequest) -> OuterResponse:
        return OuterResponse(200, (), stream(), "stream")

    async def main() -> None:
        async with serving(handler) as server:
            peer = await server.connect()
            await peer.send(get())
            raw = await peer.read_to_end()
            assert raw.count(b"piece") == before
            assert not raw.endswith(b"0\r\n\r\n")
            assert [line["kind"] for line in server.events()] == ["ValueError"]
            assert "secret" not in server.log.getvalue()

    run(main)


def test_an_iterator_that_cannot_be_closed_is_streamed() -> None:
    class Countdown:
        """Gives two pieces, and has nothing to release."""

        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> "Countdown":
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return b"%d" % self.left

    async def main() -> None:
        async with serving(lambda _: OuterResponse(200, (), Countdown())) as server:
            peer = await server.connect()
            await peer.send(get())
            assert (await peer.answer()).body == b"10"

    run(main)
