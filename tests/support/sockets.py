"""Raw sockets on both sides: a server in this event loop, and peers that misbehave on purpose."""

import asyncio
import contextlib
import io
import json
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11

from enclave_server.addresses import (
    Address,
    TcpAddress,
    UnixAddress,
    bound_address,
    listen_socket,
)
from enclave_server.http.limits import Limits
from enclave_server.http.messages import Handler, OuterRequest, OuterResponse, Router
from enclave_server.http.server import Server
from enclave_server.log import Log

DEADLINE = 120.0
"""Seconds after which a test fails rather than hang; nothing is expected to take as long."""


@dataclass(frozen=True, slots=True)
class Received:
    """One answer as a peer reads it."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: tuple[int, ...] = ()  # status codes of informational answers before it

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """The other end of a connection, byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.unread = b""  # arrived, and not yet part of an answer
        self.ended = False  # the server has closed its side

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        async with asyncio.timeout(DEADLINE):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def send_apart(self, data: bytes) -> None:
        """Send every octet by itself, as far as the server goes on reading."""
        for index in range(len(data)):
            try:
                await self.send(data[index : index + 1])
            except (BrokenPipeError, ConnectionResetError):
                return
            await asyncio.sleep(0)

    async def receive(self, size: int = 65536) -> bytes:
        """Return what comes next, empty at the end."""
        async with asyncio.timeout(DEADLINE):
            data = await asyncio.get_running_loop().sock_recv(self.socket, size)
        self.ended = self.ended or not data
        return data

    async def read_to_end(self) -> bytes:
        """Return everything until the server closes its side."""
        pieces = [self.unread]
        while piece := await self.receive():
            pieces.append(piece)
        self.unread = b""
        return b"".join(pieces)

    async def answer(self, method: str = "GET") -> Received:
        """Return the next whole answer; its end must be marked, or the connection ended."""
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(self.unread) if self.unread else None
        interim: list[int] = []
        head: h11.Response | None = None
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await self.receive())
            elif isinstance(event, h11.InformationalResponse):
                interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
        self.unread = connection.trailing_data[0]
        assert head is not None, "the connection ended without an answer"
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Received(head.status_code, headers, bytes(body), tuple(interim))

    def end(self) -> None:
        """Close the sending side only."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away without a word: on TCP with a reset."""
        if self.socket.family != socket.AF_UNIX:
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def close(self) -> None:
        """Close both sides."""
        self.socket.close()


@dataclass(slots=True)
class Serving:
    """A server under test, what it logged, and the peers that a test opened."""

    server: Server
    address: Address
    log: io.StringIO
    peers: list[Peer] = field(default_factory=list)

    async def connect(self, receive_buffer: int = 0) -> Peer:
        """Return a new connection; a small receive buffer makes a slow reader."""
        unix = isinstance(self.address, UnixAddress)
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer = Peer(sock)
        self.peers.append(peer)
        async with asyncio.timeout(DEADLINE):
            await asyncio.get_running_loop().sock_connect(sock, _target(self.address))
        return peer

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of the log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.005)


def _target(address: Address) -> Any:
    match address:
        case UnixAddress(path):
            return path
        case TcpAddress(host, port):
            return (host, port)
    raise ValueError("only loopback and Unix sockets are tested")


def serving(
    handler: Handler,
    *,
    limits: Limits | None = None,
    screen: Callable[[OuterRequest], OuterResponse | None] = lambda _: None,
    family: str = "unix",
) -> contextlib.AbstractAsyncContextManager[Serving]:
    """Serve what `screen` does not refuse with `handler`."""
    return serving_routes(lambda head: screen(head) or handler, limits=limits, family=family)


@contextlib.asynccontextmanager
async def serving_routes(
    router: Router, *, limits: Limits | None = None, family: str = "unix"
) -> AsyncIterator[Serving]:
    """Serve on a socket of `family` (`unix` or `tcp`), and end everything afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        unix = UnixAddress(str(Path(directory) / "server.sock"))
        listener = listen_socket(unix if family == "unix" else TcpAddress("127.0.0.1", 0))
        log = io.StringIO()
        server = Server(listener, router, limits or Limits(), Log(log))
        running = Serving(server, bound_address(listener), log)
        await server.start()
        try:
            yield running
        finally:
            for peer in running.peers:
                peer.close()
            await server.drain(0.1)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine, and never for longer than several deadlines."""

    async def bounded() -> None:
        async with asyncio.timeout(5 * DEADLINE):
            await main()

    asyncio.run(bounded())


@dataclass(slots=True)
class Recorder:
    """A handler that keeps every request and answers each with its number and size."""

    requests: list[OuterRequest] = field(default_factory=list)

    async def __call__(self, request: OuterRequest) -> OuterResponse:
        """Answer what `at_once` does, from a task."""
        return self.at_once(request)

    def at_once(self, request: OuterRequest) -> OuterResponse:
        """Answer `NUMBER METHOD PATH SIZE`."""
        self.requests.append(request)
        text = b"%d %b %b %d" % (
            len(self.requests),
            request.method,
            request.path,
            len(request.body),
        )
        return OuterResponse(200, ((b"content-type", b"text/plain"),), text, "recorded")


def noted_sockets() -> tuple[type[socket.socket], list[socket.socket]]:
    """Return a class of sockets, for the place of the usual one, and a list of all it makes."""
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *given: int) -> None:
            super().__init__(*given)
            made.append(self)

    return Noted, made
