"""What an exchange costs with an upstream that answers at once, beside an echo of its octets."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from enclave_server.addresses import UnixAddress
from enclave_server.chat.upstream.connections import UpstreamConnections
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.chat.upstream.request import encode_post
from protocol.binary_http import Fields
from scripts.benchmark import certificates, instant_upstream
from scripts.benchmark.floor import awaited_microseconds
from scripts.local import processes

TARGET = b"/v1/chat/completions"
FIELDS: Fields = (
    (b"Host", b"localhost"),
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"identity"),
    (b"Content-Type", b"application/json"),
    (b"User-Agent", b"oblivious-inference"),
)
RESPONSE_BYTES = len(instant_upstream.HEAD % len(instant_upstream.ANSWER) + instant_upstream.ANSWER)


def measure(body: bytes) -> dict[str, float]:
    """Return CPU microseconds in this process of asking `body`, plain and over TLS."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        files = certificates.certify(folder)
        plain_socket, tls_socket = str(folder / "plain.sock"), str(folder / "tls.sock")
        plain = Upstream("plain", UnixAddress(plain_socket))
        tls = Upstream(
            "tls",
            UnixAddress(tls_socket),
            host_name=certificates.NAME,
            ca_file=str(files.authority),
        )
        command = (sys.executable, "-m", "scripts.benchmark.instant_upstream")
        with (
            processes.running("instant upstream", [*command, plain_socket]),
            processes.running("instant upstream", [*command, tls_socket, str(files.server)]),
        ):
            return {
                "a bare echo of the exchange's octets": asyncio.run(_echo(plain_socket, body)),
                "exchange with the upstream": asyncio.run(_exchange(plain, body)),
                "exchange with the upstream, over TLS": asyncio.run(_exchange(tls, body)),
            }


async def _exchange(upstream: Upstream, body: bytes) -> float:
    connections = UpstreamConnections(upstream)

    async def exchange() -> None:
        response = await connections.post(TARGET, FIELDS, body)
        try:
            await response.read_up_to(1 << 20)
        finally:
            await response.close()

    try:
        return await awaited_microseconds(exchange)
    finally:
        connections.close()


class Echo(asyncio.BufferedProtocol):
    """Sends octets and counts those that come back, without reading them."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._buffer = bytearray(1 << 14)
        self._missing = 0
        self._whole: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream transport")
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._missing -= nbytes
        if not self._missing:
            self._whole.set_result(None)

    def send(self, data: bytes, awaited: int) -> asyncio.Future[None]:
        """Return when as many octets as `awaited` have come back."""
        self._missing = awaited
        self._whole = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self._whole


async def _echo(path: str, body: bytes) -> float:
    _, echo = await asyncio.get_running_loop().create_unix_connection(Echo, path)
    request = encode_post(TARGET, FIELDS, body)

    async def exchange() -> None:
        await echo.send(request, RESPONSE_BYTES)

    try:
        return await awaited_microseconds(exchange)
    finally:
        echo.transport.close()
