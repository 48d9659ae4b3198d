"""Connections to upstreams: the three kinds of address, TLS, reuse, and the one retry."""

import asyncio
import contextlib
import errno
import json
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trustme

from enclave_server.addresses import TcpAddress, VsockAddress, parse_address
from enclave_server.chat.dialects.exchange import JSON_TYPE, ask, read_whole
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.models import Model, ModelTable, Upstream, embedded_model
from enclave_server.chat.upstream import socket_stream as backend
from enclave_server.chat.upstream.connections import UpstreamConnections
from enclave_server.chat.upstream.socket_stream import (
    READ_AHEAD,
    WRITE_TOGETHER,
    SocketStream,
    connect,
)
from tests.support.upstream import Exchange, StandInUpstream, answering, completion, hanging_up, raw

DEADLINE = 120.0  # seconds, so that nothing hangs
NAME = "api.example.com"
HAS_VSOCK_LOOPBACK = Path("/sys/module/vsock_loopback").exists()


def upstream_at(address: str, **changes: Any) -> Upstream:
    return Upstream("u", parse_address(address), **changes)


async def post(connections: UpstreamConnections) -> Any:
    async with asyncio.timeout(DEADLINE):
        answer = await ask(connections, "/chat/completions", b"{}", JSON_TYPE)
        body = await read_whole(answer)
    await answer.close()
    return json.loads(body)


async def failure_of(connections: UpstreamConnections) -> Failure:
    with pytest.raises(UpstreamError) as caught:
        await post(connections)
    return caught.value.failure


class Authority:
    """A test CA, its certificate in a file, and servers with a certificate for a name."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.file))

    def server(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(name).configure_cert(context)
        return context


# Addresses.


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_address_is_reached(kind: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "upstream.sock" if kind == "unix" else None
        async with StandInUpstream(path=path) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert (await post(connections))["choices"]
            connections.close()

    asyncio.run(scenario())


def test_full_queue_of_a_unix_socket_is_waited_for(tmp_path: Path) -> None:
    """What comes while the upstream is slow to accept is late, and not lost."""

    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as clients:
            listener.bind(str(tmp_path / "upstream.sock"))
            listener.listen(0)
            outcome = 0
            while outcome == 0:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                outcome = client.connect_ex(listener.getsockname())
            assert outcome == errno.EAGAIN
            address = f"unix:{listener.getsockname()}"
            with pytest.raises(httpcore.ConnectTimeout):
                await connect(upstream_at(address, connect_seconds=0.1), None)
            task = asyncio.ensure_future(connect(upstream_at(address), None))
            await asyncio.sleep(0.1)
            assert not task.done()
            listener.accept()[0].close()
            async with asyncio.timeout(DEADLINE):
                stream = await task
            accepted = listener.accept()[0]
            accepted.sendall(b"at last")
            async with asyncio.timeout(DEADLINE):
                assert await stream.read(100) == b"at last"
            stream.close()
            accepted.close()

    asyncio.run(scenario())


def test_vsock_is_dialled_by_context_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket pair stands in for the dialled socket; TLS is asked for, with the real name."""

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        dialled: list[tuple[int, int]] = []

        async def dial(cid: int, port: int) -> socket.socket:
            dialled.append((cid, port))
            ours.setblocking(False)
            return ours

        monkeypatch.setattr(backend, "_vsock", dial)
        upstream = upstream_at("vsock://3:8001", host_name=NAME)
        context = upstream.ssl_context()
        assert context is not None
        task = asyncio.ensure_future(connect(upstream, context))
        theirs.setblocking(False)
        hello = await asyncio.get_running_loop().sock_recv(theirs, 4096)
        theirs.close()
        with pytest.raises(httpcore.ConnectError):
            await task
        assert dialled == [(3, 8001)]
        assert hello.startswith(b"\x16\x03")
        assert NAME.encode() in hello

    asyncio.run(scenario())


@pytest.mark.skipif(not HAS_VSOCK_LOOPBACK, reason="the module vsock_loopback is not loaded")
def test_vsock_socket_that_is_refused() -> None:
    async def scenario() -> None:
        with pytest.raises(OSError):  # noqa: PT011  # which one is the kernel's choice
            await backend._vsock(1, 4711)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("address", "host_name", "tls_name", "authority"),
    [
        ("unix:/x", None, None, "localhost"),
        ("unix:/x", NAME, NAME, NAME),
        ("tcp://127.0.0.1:8080", None, None, "127.0.0.1:8080"),
        ("tcp://[::1]:8080", None, None, "[::1]:8080"),
        ("tcp://localhost:8080", None, None, "localhost:8080"),
        ("tcp://127.0.0.1:8080", NAME, NAME, NAME),
        ("tcp://api.example.org:443", None, "api.example.org", "api.example.org:443"),
        ("tcp://10.0.0.1:443", None, "10.0.0.1", "10.0.0.1:443"),
        ("tcp://localhost.example.org:443", NAME, NAME, NAME),
        ("vsock://3:8001", NAME, NAME, NAME),
    ],
)
def test_everything_but_the_local_is_encrypted(
    address: str, host_name: str | None, tls_name: str | None, authority: str
) -> None:
    upstream = upstream_at(address, host_name=host_name)
    assert (upstream.tls_name, upstream.authority) == (tls_name, authority)
    context = upstream.ssl_context()
    assert (context is None) == (tls_name is None)
    if context is not None:
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED


def test_misconfigured_upstreams_are_value_errors() -> None:
    with pytest.raises(ValueError, match="host_name"):
        Upstream("u", VsockAddress(3, 8001))
    with pytest.raises(ValueError, match="path_prefix"):
        Upstream("u", TcpAddress("127.0.0.1", 1), path_prefix="/v1\r\nX: y")
    model = Model("m", upstream_at("unix:/x"), "m")
    with pytest.raises(ValueError, match="same name"):
        ModelTable((model, model))


# TLS.


def test_right_name_and_authority_are_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with StandInUpstream(tls=authority.server(NAME)) as upstream:
            target = upstream_at(upstream.address, host_name=NAME, ca_file=str(authority.file))
            connections = UpstreamConnections(target)
            for _ in range(2):
                assert (await post(connections))["choices"]
            assert upstream.connections == 1
            assert upstream.requests[0].fields["host"] == NAME
            connections.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("wrong", ["name", "authority", "system authorities"])
def test_wrong_name_or_authority_is_refused_before_a_byte(wrong: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        authority = Authority(tmp_path)
        name = "other.example.com" if wrong == "name" else NAME
        trusted: str | None = str(authority.file)
        if wrong == "authority":
            trusted = str(tmp_path / "other.pem")
            trustme.CA().cert_pem.write_to_path(trusted)
        elif wrong == "system authorities":
            trusted = None
        async with StandInUpstream(tls=authority.server(name)) as upstream:
            target = upstream_at(upstream.address, host_name=NAME, ca_file=trusted)
            assert await failure_of(UpstreamConnections(target)) is Failure.ABSENT
            assert upstream.requests == []

    asyncio.run(scenario())


def test_plain_server_where_tls_is_wanted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with StandInUpstream(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as upstream:
            target = upstream_at(upstream.address, host_name=NAME, connect_seconds=1.0)
            assert await failure_of(UpstreamConnections(target)) is Failure.ABSENT

    asyncio.run(scenario())


def test_handshake_that_never_ends_is_cut_off() -> None:
    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        target = upstream_at(address, host_name=NAME, connect_seconds=0.1)
        with pytest.raises(httpcore.ConnectTimeout):
            await connect(target, target.ssl_context())
        assert await failure_of(UpstreamConnections(target)) is Failure.ABSENT
        listener.close()

    asyncio.run(scenario())


# Reuse and retry.


def test_connection_is_used_again_and_closed_at_last() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            for _ in range(5):
                await post(connections)
            assert (upstream.connections, len(upstream.requests)) == (1, 5)
            connections.close()

    asyncio.run(scenario())


def test_embedded_engine_gets_a_connection_for_each_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "engine.sock"
        async with StandInUpstream(path=path) as upstream:
            connections = UpstreamConnections(embedded_model("m", str(path), None).upstream)
            for _ in range(3):
                await post(connections)
            assert upstream.connections == 3
            assert upstream.requests[0].fields["connection"] == "close"

    asyncio.run(scenario())


def test_connection_that_the_server_closed_is_not_used_again() -> None:
    async def closing(exchange: Exchange) -> None:
        await answering()(exchange)
        exchange.writer.close()

    async def scenario() -> None:
        async with StandInUpstream(closing) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            for pause in (0.0, 0.05, 0.0):
                await post(connections)
                await asyncio.sleep(pause)
            assert len(upstream.requests) == 3
            connections.close()

    asyncio.run(scenario())


def test_words_that_nobody_asked_for_spoil_a_connection() -> None:
    async def chatty(exchange: Exchange) -> None:
        await answering()(exchange)
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def scenario() -> None:
        async with StandInUpstream(chatty) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            for _ in range(2):
                assert (await post(connections))["choices"]
                await asyncio.sleep(0.05)
            assert upstream.connections == 2
            connections.close()

    asyncio.run(scenario())


def test_an_answer_for_the_next_person_is_not_taken_from_the_same_piece() -> None:
    """It is then inside httpcore, where nobody who looks at the socket sees it."""
    stolen = json.dumps(completion("For somebody else.")).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            answer = json.dumps(completion("Paris.")).encode()
            pieces = [head % len(body) + body for body in (answer, stolen)]

            async def two_at_once(exchange: Exchange) -> None:
                await exchange.send(b"".join(pieces))

            upstream.behaviour = two_at_once
            for _ in range(2):
                choice = (await post(connections))["choices"][0]
                assert choice["message"]["content"] == "Paris."
            assert upstream.connections == 2
            connections.close()

    asyncio.run(scenario())


def test_request_is_not_repeated_once_a_byte_was_handed_over() -> None:
    """A kept connection that breaks while the request is under way: it may have been acted on."""

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            await post(connections)
            upstream.behaviour = hanging_up
            assert await failure_of(connections) is Failure.BROKEN
            assert len(upstream.requests) == 2
            connections.close()

    asyncio.run(scenario())


def test_request_is_repeated_if_nothing_was_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept connection turns out to be closed only when it is written to."""

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            await post(connections)
            (link,) = connections._idle
            link.stream.eof_received()
            monkeypatch.setattr(SocketStream, "get_extra_info", _nothing)
            assert (await post(connections))["choices"]
            assert (upstream.connections, len(upstream.requests)) == (2, 2)
            connections.close()
            link.stream.close()

    asyncio.run(scenario())


def _nothing(self: SocketStream, info: str) -> None:
    return None


def test_connect_is_tried_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "upstream.sock"
        connections = UpstreamConnections(upstream_at(f"unix:{path}"))
        task = asyncio.ensure_future(post(connections))
        await asyncio.sleep(0)
        async with StandInUpstream(path=path):
            assert (await task)["choices"]
            connections.close()

    asyncio.run(scenario())


# The stream itself.


async def pair(task: Callable[[SocketStream, socket.socket], Any]) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(SocketStream, sock=ours)
    try:
        async with asyncio.timeout(DEADLINE):
            await task(stream, theirs)
    finally:
        stream.close()
        theirs.close()
        await asyncio.sleep(0)


def test_reading_stops_when_nobody_reads() -> None:
    async def task(stream: SocketStream, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        size = 4 * 1024 * 1024
        sending = asyncio.ensure_future(loop.sock_sendall(theirs, b"x" * size))
        await asyncio.sleep(0.1)
        assert not sending.done()
        assert len(stream._buffer) < READ_AHEAD + 256 * 1024 + 1
        received = 0
        while received < size:
            received += len(await stream.read(65536))
        await sending

    asyncio.run(pair(task))


def test_writing_waits_for_the_reader_and_times_out() -> None:
    async def task(stream: SocketStream, theirs: socket.socket) -> None:
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(b"x" * 4 * 1024 * 1024, timeout=0.05)
        theirs.close()
        await asyncio.sleep(0.05)
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"x" * WRITE_TOGETHER)

    asyncio.run(pair(task))


def test_short_writes_go_out_together_before_a_read() -> None:
    async def task(stream: SocketStream, theirs: socket.socket) -> None:
        await stream.write(b"head")
        await stream.write(b"body")
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
        assert stream.handed_over == 0
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(1, timeout=0.01)
        assert theirs.recv(100) == b"headbody"
        assert stream.handed_over == 8

    asyncio.run(pair(task))


def test_reading_times_out_and_ends() -> None:
    async def task(stream: SocketStream, theirs: socket.socket) -> None:
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(5, timeout=0.01)
        theirs.send(b"abcdefg")
        assert await stream.read(5) == b"abcde"
        assert stream.get_extra_info("is_readable")
        theirs.close()
        assert await stream.read(5) == b"fg"
        assert await stream.read(5) == b""
        assert await stream.read(5) == b""

    asyncio.run(pair(task))


def test_reset_is_a_read_error() -> None:
    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        stream = await connect(upstream_at(address), None)
        accepted, _ = listener.accept()
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        accepted.close()
        with pytest.raises(httpcore.ReadError):
            await stream.read(5, timeout=DEADLINE)
        stream.close()
        listener.close()

    asyncio.run(scenario())


def test_asking_takes_what_waits_in_the_kernel() -> None:
    async def task(stream: SocketStream, theirs: socket.socket) -> None:
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
        assert await stream.read(5) == b""

    asyncio.run(pair(task))


def test_who_has_asked_can_wait_again() -> None:
    async def task(stream: SocketStream, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for wait in (lambda: stream.read(100), stream.arrival):
            assert stream.ask() is None
            loop.call_later(0.01, theirs.send, b"later")
            assert await wait() in (b"later", None)
        assert stream.take_arrived() == b"later"
        assert stream.take_arrived() is None

    asyncio.run(pair(task))


def test_asking_meets_a_reset() -> None:
    async def task(stream: SocketStream, theirs: socket.socket) -> None:
        await stream.write(b"nobody reads this")
        assert stream.ask() is None
        stream._flush()
        theirs.close()  # with something unread: a reset
        for _ in range(2):
            with pytest.raises(httpcore.ReadError):
                stream.ask()

    asyncio.run(pair(task))


def test_asking_through_tls_takes_all_of_a_burst(tmp_path: Path) -> None:
    """More than is read ahead: what stops the reading must not stop it for good."""
    size = 10 * READ_AHEAD

    async def burst(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: application/json", f"Content-Length: {size}")
        await exchange.send(b"x" * size)

    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with (
            StandInUpstream(burst, tls=authority.server(NAME)) as upstream,
            asyncio.timeout(DEADLINE),
        ):
            target = upstream_at(upstream.address, host_name=NAME, ca_file=str(authority.file))
            connections = UpstreamConnections(target)
            answer = await ask(connections, "/chat/completions", b"{}", JSON_TYPE)
            taken = 0
            while (piece := answer.take()) is not None:
                taken += len(piece)
                await asyncio.sleep(0)
            assert taken == size
            await answer.close()
            connections.close()

    asyncio.run(scenario())


async def haltingly(exchange: Exchange) -> None:
    """Answer with the body some time after the head."""
    body = b'{"choices":[]}'
    await exchange.head(200, "Content-Type: application/json", f"Content-Length: {len(body)}")
    await asyncio.sleep(0.02)
    await exchange.send(body)


async def asked(connections: UpstreamConnections) -> bytes:
    """Return the body of an answer that was asked for until it was whole."""
    answer = await ask(connections, "/chat/completions", b"{}", JSON_TYPE)
    body = b""
    while (piece := answer.take()) is not None:
        body += piece
        await asyncio.sleep(0)
    await answer.close()
    return body


def test_connection_is_kept_after_it_was_asked() -> None:
    async def scenario() -> None:
        async with StandInUpstream(haltingly) as upstream, asyncio.timeout(DEADLINE):
            connections = UpstreamConnections(upstream_at(upstream.address))
            for _ in range(3):
                assert await asked(connections) == b'{"choices":[]}'
            assert (upstream.connections, len(upstream.requests)) == (1, 3)
            connections.close()

    asyncio.run(scenario())


def test_end_of_a_kept_connection_is_noticed_after_it_was_asked() -> None:
    async def closing(exchange: Exchange) -> None:
        await haltingly(exchange)
        await asyncio.sleep(0.1)
        exchange.writer.close()

    async def scenario() -> None:
        async with StandInUpstream(closing) as upstream, asyncio.timeout(DEADLINE):
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await asked(connections)
            (link,) = connections._idle
            await link.stream._readable.wait()
            assert link.stream.take_arrived() == b""

    asyncio.run(scenario())


WARM = """
import asyncio, sys
from enclave_server.chat.upstream.connections import UpstreamConnections, warm_up
from enclave_server.chat.dialects.exchange import JSON_TYPE, ask, read_whole
from enclave_server.chat.models import Upstream
from enclave_server.addresses import parse_address

async def main():
    await warm_up()
    known = set(sys.modules)
    connections = UpstreamConnections(Upstream("u", parse_address(sys.argv[1])))
    answer = await ask(connections, "/chat/completions", b"{}", JSON_TYPE)
    await read_whole(answer)
    await answer.close()
    print(*(set(sys.modules) - known))

asyncio.run(main())
"""


def test_first_question_loads_nothing_once_warmed_up() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream, asyncio.timeout(DEADLINE):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", WARM, upstream.address, stdout=asyncio.subprocess.PIPE
            )
            loaded, _ = await process.communicate()
            assert process.returncode == 0
            assert loaded.split() == []

    asyncio.run(scenario())


def test_large_answer_in_small_pieces_is_read_whole() -> None:
    async def scenario() -> None:
        text = json.dumps({"choices": "x" * 1_000_000}).encode()
        pieces = [text[i : i + 1000] for i in range(0, len(text), 1000)]

        async def dribble(exchange: Exchange) -> None:
            await exchange.head(200, "Content-Type: application/json", "Transfer-Encoding: chunked")
            for piece in [*pieces, b""]:
                await exchange.chunk(piece)

        async with StandInUpstream(dribble) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await post(connections) == json.loads(text)
            connections.close()

    asyncio.run(scenario())
