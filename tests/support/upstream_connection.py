"""What tests of connections to upstreams share: an upstream's place, certificates, one question."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from enclave_server.addresses import parse_address
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.upstream.connections import UpstreamConnections, UpstreamResponse
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.chat.upstream.stream import Stream

DEADLINE = 120.0  # seconds, so that nothing hangs
NAME = "api.example.com"
TARGET = b"/v1/chat/completions"


def upstream_at(address: str, **changes: Any) -> Upstream:
    return Upstream("u", parse_address(address), **changes)


async def post(connections: UpstreamConnections, body: bytes = b"{}") -> UpstreamResponse:
    """Return the response to one question; whoever asked closes it."""
    host = connections.upstream.authority.encode()
    async with asyncio.timeout(DEADLINE):
        return await connections.post(TARGET, ((b"Host", host),), body)


async def body_of(response: UpstreamResponse) -> bytes:
    """Return the whole body of a response, and close it."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await response.read_up_to(1 << 30)
    finally:
        await response.close()


async def ask(connections: UpstreamConnections, body: bytes = b"{}") -> bytes:
    """Return the body of the response to one question."""
    return await body_of(await post(connections, body))


async def failure_of(connections: UpstreamConnections, body: bytes = b"{}") -> Failure:
    with pytest.raises(UpstreamError) as caught:
        await ask(connections, body)
    return caught.value.failure


class Authority:
    """A test CA, its certificate in a file, and servers with a certificate for a name."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.file))

    def server(self, name: str = NAME) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(name).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.file))

    def upstream(self, address: str, **changes: Any) -> Upstream:
        """Return the upstream at `address` whose certificate is for NAME."""
        return upstream_at(address, host_name=NAME, ca_file=str(self.file), **changes)


async def pair(task: Callable[[Stream, socket.socket], Awaitable[None]]) -> None:
    """Run `task` with a stream and the socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _, stream = await asyncio.get_running_loop().create_connection(Stream, sock=ours)
    try:
        async with asyncio.timeout(DEADLINE):
            await task(stream, theirs)
    finally:
        stream.close()
        theirs.close()
        await asyncio.sleep(0)


async def read(stream: Stream) -> bytes:
    """Return what arrives next, nothing at the end."""
    async with asyncio.timeout(DEADLINE):
        await stream.arrival()
    data = stream.take_arrived()
    assert data is not None
    return data
