"""A connection to a store: what is asked is answered, or the connection ends."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from enclave_server.addresses import UnixAddress, VsockAddress, parse_address
from enclave_server.payment import connection
from enclave_server.payment.connection import MAX_PIECE_BYTES, Connection, connect, dial
from enclave_server.payment.resp import Kind, MalformedReply, Reply, encode
from tests.support.hostile_store import HostileStore, nothing, saying
from tests.support.hostile_store import Reply as Say
from tests.support.sockets import noted_sockets

SECONDS = 60.0
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
        kinds = [Kind.DONE, Kind.COUNT, Kind.DONE]
        replies = await opened.exchange(SET + EVAL + SET, kinds, SECONDS)
        assert [reply.size for reply in replies] == [5, 4, 5]
        assert await opened.exchange(SET, [Kind.DONE], SECONDS) == [OK]

    store = run(saying(b"+OK\r\n", b":1\r\n", b"+OK\r\n"), use)
    assert (store.connections, len(store.commands)) == (1, 4)


def test_many_replies_are_taken_in_pieces() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        count = MAX_PIECE_BYTES
        assert await opened.exchange(count * SET, count * [Kind.DONE], SECONDS) == count * [OK]

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
            (reply,) = await opened.exchange(SET, [Kind.PREVIOUS], SECONDS)
            assert reply.value == b"h" + bytes(16)
            opened.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "said",
    [b"+OK\r\n", b"x" * 100_000, b"$17\r\nx", b"-LOADING\r\n"],
    ids=["another", "100 kB", "of no kind", "loading"],
)
def test_what_is_wrong_ends_the_connection_and_the_next_is_a_new_one(said: bytes) -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        with pytest.raises(MalformedReply):
            await opened.exchange(SET, [Kind.PREVIOUS], SECONDS)
        store.reply = saying(b"$-1\r\n")
        assert await opened.exchange(SET, [Kind.PREVIOUS], SECONDS) == [Reply(None, 5)]
        assert store.connections == 2

    run(saying(said), use)


@pytest.mark.parametrize("more", [b"+OK\r\n", b"$", b"$-1\r\n"])
def test_what_comes_behind_a_reply_is_no_reply_to_the_next(more: bytes) -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        for number in (1, 2, 3):
            replies = await opened.exchange(SET, [Kind.PREVIOUS], SECONDS)
            assert replies == [Reply(None, 5)]
            assert store.connections == number

    run(saying(b"$-1\r\n" + more), use)


def test_no_more_is_read_and_kept_than_a_few_replies() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        link = await opened._dialed()
        kept: list[int] = []
        take = link.buffer_updated

        def noting(nbytes: int) -> None:
            kept.append(nbytes + len(link._waiting))
            take(nbytes)

        link.buffer_updated = noting  # type: ignore[method-assign]
        with pytest.raises(MalformedReply):
            await opened.exchange(SET, [Kind.PREVIOUS], SECONDS)
        assert len(kept) == 1
        assert kept[0] <= MAX_PIECE_BYTES
        assert len(link._waiting) == 0

    run(saying(b"$" + b"1" * 1_000_000), use)


def test_who_hangs_up_is_an_error() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await opened.exchange(SET, [Kind.DONE], SECONDS)

    assert run(saying(None), use).connections == 2


def test_a_reply_is_late_too_where_one_before_was_in_time() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        await opened.exchange(SET, [Kind.DONE], 0.02)
        await asyncio.sleep(0.05)  # until what watched over it has looked
        store.reply = nothing
        late = asyncio.ensure_future(opened.exchange(SET, [Kind.DONE], 0.05))
        ended, _ = await asyncio.wait([late], timeout=5)
        assert ended
        assert isinstance(late.exception(), TimeoutError)

    run(saying(b"+OK\r\n"), use)


def test_a_reply_that_is_late_ends_all_that_is_under_way() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        asked = [opened.exchange(SET, [Kind.DONE], seconds) for seconds in (0.05, 60, 0.2)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in found] == 3 * [TimeoutError]
        store.reply = saying(b":1\r\n")
        assert len(await opened.exchange(EVAL, [Kind.COUNT], SECONDS)) == 1

    assert run(nothing, use).connections == 2


def test_each_exchange_has_its_own_time() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        assert await opened.exchange(SET, [Kind.DONE], 60) == [OK]
        assert await opened.exchange(SET, [Kind.DONE], 0.05) == [OK]
        await asyncio.sleep(0.1)  # the time of what is over ends nothing
        assert await opened.exchange(SET, [Kind.DONE], 60) == [OK]

    assert run(saying(b"+OK\r\n"), use).connections == 1


def test_who_gives_up_leaves_no_reply_for_the_next() -> None:
    waiting = asyncio.Event()

    async def later(command: bytes) -> bytes:
        await waiting.wait()
        return b"+OK\r\n" if command == b"SET" else b":1\r\n"

    async def use(opened: Connection, store: HostileStore) -> None:
        given_up = asyncio.ensure_future(opened.exchange(SET, [Kind.DONE], SECONDS))
        while not store.commands:
            await asyncio.sleep(0.001)
        given_up.cancel()
        after = asyncio.ensure_future(opened.exchange(EVAL, [Kind.COUNT], SECONDS))
        await asyncio.sleep(0)
        waiting.set()
        assert await after == [Reply(None, 4)]

    assert run(later, use).connections == 1


def test_many_exchanges_share_one_connection() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        asked = (opened.exchange(SET, [Kind.DONE], SECONDS) for _ in range(50))
        assert await asyncio.gather(*asked) == 50 * [[OK]]

    assert run(saying(b"+OK\r\n"), use).connections == 1


def test_what_nobody_asked_for_ends_the_connection() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        link = await opened._dialed()
        link.get_buffer(0)[:5] = b"+OK\r\n"
        link.buffer_updated(5)
        assert not link.is_open
        with pytest.raises(ConnectionResetError):
            await link.ask(SET, [Kind.DONE], SECONDS)
        await opened.exchange(SET, [Kind.DONE], SECONDS)

    assert run(saying(b"+OK\r\n"), use).connections == 2


def test_nobody_there() -> None:
    async def scenario() -> None:
        for address in ("unix:/nonexistent/socket", "tcp://127.0.0.1:1"):
            with pytest.raises(OSError, match=r"\[Errno|Connect call failed"):
                await Connection(parse_address(address)).exchange(SET, [Kind.DONE], SECONDS)

    asyncio.run(scenario())


def test_tcp_is_connected_without_delay() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = parse_address(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            link = await dial(address)
            transport = link._transport
            assert transport is not None
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            link.close()
            await asyncio.sleep(0)

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


def test_a_reply_is_late_where_one_asked_for_at_the_same_time_was_not() -> None:
    async def only_sets(command: bytes) -> bytes:
        if command == b"SET":
            return b"+OK\r\n"
        await asyncio.sleep(SECONDS)
        return b":1\r\n"

    async def use(opened: Connection, store: HostileStore) -> None:
        answered, late = await asyncio.wait_for(
            asyncio.gather(
                opened.exchange(SET, [Kind.DONE], 0.05),
                opened.exchange(EVAL, [Kind.COUNT], 0.1),
                return_exceptions=True,
            ),
            SECONDS / 2,
        )
        assert answered == [OK]
        assert type(late) is TimeoutError

    run(only_sets, use)


def test_who_closes_a_connection_leaves_nobody_waiting() -> None:
    async def use(opened: Connection, store: HostileStore) -> None:
        asking = asyncio.ensure_future(opened.exchange(SET, [Kind.DONE], SECONDS))
        while not store.commands:
            await asyncio.sleep(0.01)
        opened.close()
        with pytest.raises(ConnectionResetError):
            await asking

    run(nothing, use)


def test_a_socket_that_leads_nowhere_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, made = noted_sockets()
    monkeypatch.setattr("socket.socket", kind)
    with pytest.raises(FileNotFoundError):
        asyncio.run(connect(UnixAddress(str(tmp_path / "nowhere"))))
    assert [each.fileno() for each in made if each.family == socket.AF_UNIX][-1] == -1


def test_a_socket_that_becomes_no_link_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()

    async def connected(_: object) -> socket.socket:
        return ours

    async def main() -> None:
        async def fail(*_: object, **__: object) -> None:
            raise ConnectionResetError

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        await dial(UnixAddress(str(tmp_path / "store")))

    monkeypatch.setattr(connection, "connect", connected)
    with theirs, pytest.raises(ConnectionResetError):
        asyncio.run(main())
    assert ours.fileno() == -1


def test_of_several_numbers_of_a_store_s_name_the_first_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = listener.getsockname()
        found = [(socket.AF_INET, 1, 0, "", each) for each in (target, ("127.0.0.1", 1))]

        async def main() -> None:
            async def numbers(*_: object, **__: object) -> list[object]:
                return [*found]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", numbers)
            (await connect(parse_address("tcp://store.example:1"))).close()

        asyncio.run(main())
