"""Dialing upstreams: the three kinds of address, TLS, and what is refused."""

import asyncio
import contextlib
import errno
import socket
from pathlib import Path

import pytest
import trustme

from enclave_server.chat.errors import Failure
from enclave_server.chat.upstream import dialing
from enclave_server.chat.upstream.connections import UpstreamConnections
from enclave_server.chat.upstream.dialing import connect
from enclave_server.chat.upstream.trust import ssl_context
from tests.support.sockets import noted_sockets
from tests.support.upstream import StandInUpstream, raw
from tests.support.upstream_connection import (
    DEADLINE,
    NAME,
    Authority,
    ask,
    failure_of,
    read,
    upstream_at,
)

HAS_VSOCK_LOOPBACK = Path("/sys/module/vsock_loopback").exists()


# Addresses.


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_address_is_reached(kind: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "upstream.sock" if kind == "unix" else None
        async with StandInUpstream(path=path) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert b"choices" in await ask(connections)
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
            with pytest.raises(TimeoutError):
                await connect(upstream_at(address, connect_seconds=0.1), None)
            task = asyncio.ensure_future(connect(upstream_at(address), None))
            await asyncio.sleep(0.1)
            assert not task.done()
            listener.accept()[0].close()
            async with asyncio.timeout(DEADLINE):
                stream = await task
            accepted = listener.accept()[0]
            accepted.sendall(b"at last")
            assert await read(stream) == b"at last"
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

        monkeypatch.setattr(dialing, "_vsock", dial)
        upstream = upstream_at("vsock://3:8001", host_name=NAME)
        context = ssl_context(upstream)
        assert context is not None
        task = asyncio.ensure_future(connect(upstream, context))
        theirs.setblocking(False)
        hello = await asyncio.get_running_loop().sock_recv(theirs, 4096)
        theirs.close()
        with pytest.raises(OSError):  # noqa: PT011  # a reset or an end, as the kernel sees it
            await task
        assert dialled == [(3, 8001)]
        assert hello.startswith(b"\x16\x03")
        assert NAME.encode() in hello

    asyncio.run(scenario())


@pytest.mark.skipif(not HAS_VSOCK_LOOPBACK, reason="the module vsock_loopback is not loaded")
def test_vsock_socket_that_is_refused() -> None:
    async def scenario() -> None:
        with pytest.raises(OSError):  # noqa: PT011  # which one is the kernel's choice
            await dialing._vsock(1, 4711)

    asyncio.run(scenario())


class NoVsock(socket.socket):
    """Stands in for an AF_VSOCK socket, which may not be had on every machine."""

    made: list["NoVsock"] = []  # noqa: RUF012  # one test's

    def __init__(self, family: int, kind: int) -> None:
        super().__init__(socket.AF_UNIX, kind)
        assert family == socket.AF_VSOCK
        self.made.append(self)


@pytest.mark.parametrize("outcome", [None, OSError(errno.ECONNRESET, "reset")])
def test_vsock_socket_is_returned_connected_or_closed(
    outcome: OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async def dial(sock: socket.socket, address: tuple[int, int]) -> None:
            assert address == (3, 8001)
            assert not sock.getblocking()
            if outcome is not None:
                raise outcome

        monkeypatch.setattr(dialing, "socket", NoVsock)
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", dial)
        if outcome is None:
            (await dialing._vsock(3, 8001)).close()
            return
        with pytest.raises(OSError, match="reset"):
            await dialing._vsock(3, 8001)
        assert NoVsock.made[-1].fileno() == -1

    asyncio.run(scenario())


# TLS.


def test_right_name_and_authority_are_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with StandInUpstream(tls=authority.server()) as upstream:
            connections = UpstreamConnections(authority.upstream(upstream.address))
            for _ in range(2):
                assert b"choices" in await ask(connections)
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
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
            target = upstream_at(address, host_name=NAME, connect_seconds=0.1)
            with pytest.raises(TimeoutError):
                await connect(target, ssl_context(target))
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            async with asyncio.timeout(DEADLINE):
                while await asyncio.get_running_loop().sock_recv(accepted, 4096):
                    pass  # its hello, then the end
            accepted.close()
            assert await failure_of(UpstreamConnections(target)) is Failure.ABSENT

    asyncio.run(scenario())


def test_tls_without_a_name_to_verify_is_refused() -> None:
    """It cannot be configured; should it happen, nothing goes out in plain."""

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            context = ssl_context(upstream_at("vsock://3:1", host_name=NAME))
            with pytest.raises(ValueError, match="no name"):
                await connect(upstream_at(upstream.address), context)
            assert upstream.requests == []

    asyncio.run(scenario())


def test_a_socket_that_leads_nowhere_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, made = noted_sockets()
    monkeypatch.setattr(dialing, "socket", kind)
    with pytest.raises(FileNotFoundError):
        asyncio.run(connect(upstream_at(f"unix:{tmp_path}/nowhere"), None))
    assert [each.fileno() for each in made] == [-1]
