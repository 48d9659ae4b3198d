"""A connection to a store: what is asked is answered, or the connection ends."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from enclave_server.addresses import UnixAddress, VsockAddress, parse_address
from enclave_server.payment import connection
from enclave_server.payment.connection import MAX_PIECE_BYTES, Connection, connect
from enclave_server.payment.resp import Kind, MalformedReply, Reply, encode
from tests.support.hostile_store import HostileStore, nothing, saying
from tests.support.hostile_store import Reply as Say

SET, EVAL = encode(b"SET"), encode(b"EVAL")
OK = Reply(None, 5)
Use = Callable[[Connection, HostileStore], Awaitable[None]]


def run(say: Say, use: Use) -> HostileStore:
    async def scenario() -> HostileStore:
        async with HostileStore(say) as store:
            opened = Connection(parse_address(store.address))
            try:
                await use(opened, store)
            finally:
                opened.close()
        return store

    return asyncio.run(scenario())


def test_replies_come_in_order_over_one_connection() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        replies = await opened.exchange(SET + EVAL + SET, [Kind.DONE, Kind.COUNT, Kind.DONE])
        assert [reply.size for reply in replies] == [5, 4, 5]
        assert await opened.exchange(SET, [Kind.DONE]) == [OK]

    store = run(saying(b"+OK\r\n", b":1\r\n", b"+OK\r\n"), use)
    assert (store.connections, len(store.commands)) == (1, 4)


def test_many_replies_are_taken_in_pieces() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        count = MAX_PIECE_BYTES
        assert await opened.exchange(count * SET, count * [Kind.DONE]) == count * [OK]

    run(saying(b"+OK\r\n"), use)


def test_a_reply_comes_octet_by_octet() -> None:
    class Slow(HostileStore):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readexactly(len(SET))
                for octet in b"$17\r\nh" + bytes(16) + b"\r\n":
                    writer.write(bytes([octet]))
                    await writer.drain()
                    await asyncio.sleep(0)
                await reader.read()
            finally:
                writer.transport.abort()
                await asyncio.sleep(0)

    async def scenario() -> None:
        async with Slow(saying(b"")) as store:
            opened = Connection(parse_address(store.address))
            (reply,) = await opened.exchange(SET, [Kind.PREVIOUS])
            assert reply.value == b"h" + bytes(16)
            opened.close()

    asyncio.run(scenario())


async def twice(opened: Connection) -> None:
    """Ask twice: what came behind a good reply may be seen with the next command only."""
    for _ in range(2):
        await opened.exchange(SET, [Kind.PREVIOUS])


@pytest.mark.parametrize(
    "said",
    [b"+OK\r\n", b"$-1\r\n+OK\r\n", b"$-1\r\n$", b"x" * 100_000, b"$17\r\nx", b"-LOADING\r\n"],
    ids=["another", "one more", "part of one more", "100 kB", "of no kind", "loading"],
)
def test_what_is_wrong_ends_the_connection_and_the_next_is_a_new_one(said: bytes) -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        with pytest.raises(MalformedReply):
            await twice(opened)
        store.reply = saying(b"$-1\r\n")
        assert await opened.exchange(SET, [Kind.PREVIOUS]) == [Reply(None, 5)]
        assert store.connections == 2

    run(saying(said), use)


def test_no_more_is_read_than_could_be_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        read = loop.sock_recv

        async def noting(sock: socket.socket, size: int) -> bytes:
            piece = await read(sock, size)
            sizes.append(len(piece))
            return piece

        monkeypatch.setattr(loop, "sock_recv", noting)
        async with HostileStore(saying(b"$" + b"1" * 1_000_000)) as store:
            opened = Connection(parse_address(store.address))
            with pytest.raises(MalformedReply):
                await opened.exchange(SET, [Kind.PREVIOUS])
            opened.close()

    asyncio.run(scenario())
    assert sizes == [24]


def test_who_hangs_up_is_an_error() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await opened.exchange(SET, [Kind.DONE])

    assert run(saying(None), use).connections == 2


def test_who_gives_up_leaves_no_reply_for_the_next() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await opened.exchange(SET, [Kind.DONE])
        store.reply = saying(b":1\r\n")
        assert len(await opened.exchange(EVAL, [Kind.COUNT])) == 1

    assert run(nothing, use).connections == 2


def test_exchanges_wait_for_one_another() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        found = await asyncio.gather(*(opened.exchange(SET, [Kind.DONE]) for _ in range(50)))
        assert found == 50 * [[OK]]

    assert run(saying(b"+OK\r\n"), use).connections == 1


def test_nobody_there() -> None:
    async def scenario() -> None:
        for address in ("unix:/nonexistent/socket", "tcp://127.0.0.1:1"):
            with pytest.raises(OSError, match=r"\[Errno|Connect call failed"):
                await Connection(parse_address(address)).exchange(SET, [Kind.DONE])

    asyncio.run(scenario())


def test_tcp_is_connected_without_delay() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = parse_address(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            with contextlib.closing(await connect(address)) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert not sock.getblocking()

    asyncio.run(scenario())


async def crowd(path: str, stack: contextlib.ExitStack) -> None:
    for _ in range(10):
        stack.callback((await connect(UnixAddress(path))).close)


def test_a_full_queue_is_an_error_and_no_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
            listener.bind(path)
            listener.listen(0)
            with pytest.raises(BlockingIOError):
                await crowd(path, stack)

    asyncio.run(scenario())


def test_vsock_is_dialed_by_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, object]] = []

    async def connected(family: int, target: object) -> socket.socket:
        asked.append((family, target))
        return socket.socket()

    monkeypatch.setattr(connection, "_connected", connected)
    asyncio.run(connect(VsockAddress(3, 8002))).close()
    assert asked == [(socket.AF_VSOCK, (3, 8002))]
