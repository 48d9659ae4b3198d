"""Dials upstreams: over Unix sockets, TCP and vsock, plain or in TLS."""

import asyncio
import ssl
from socket import AF_UNIX, AF_VSOCK, SOCK_STREAM, socket

from enclave_server.addresses import TcpAddress, UnixAddress, VsockAddress
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.chat.upstream.stream import Stream
from enclave_server.chat.upstream.tls import Tls

# RFC 8305, Section 5: the recommended delay before the next address is tried as well.
NEXT_ADDRESS_SECONDS = 0.25

# Until a Unix socket whose queue of connections was full is asked again.
FULL_QUEUE_SECONDS = 0.01


async def connect(upstream: Upstream, context: ssl.SSLContext | None) -> Stream:
    """Return a connection to `upstream`, encrypted if there is a `context`.

    Raises TimeoutError, or another OSError, also for a certificate that does not verify.
    """
    async with asyncio.timeout(upstream.connect_seconds):
        stream = await _open(upstream)
        if context is None:
            return stream
        try:
            await stream.secure(Tls(context, upstream.tls_name))
        except BaseException:
            stream.close()
            raise
        return stream


async def _open(upstream: Upstream) -> Stream:
    loop = asyncio.get_running_loop()
    match upstream.address:
        case UnixAddress(path):
            _, stream = await loop.create_connection(Stream, sock=await _unix(path))
        case TcpAddress(host, port):
            _, stream = await loop.create_connection(
                Stream, host, port, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS
            )
        case VsockAddress(cid, port):
            _, stream = await loop.create_connection(Stream, sock=await _vsock(cid, port))
    return stream


async def _unix(path: str) -> socket:
    """Return a connected socket, also when the queue of the listener was full for a while.

    `connect` then says EAGAIN, which is no connection under way, though asyncio takes it for one.
    """
    sock = socket(AF_UNIX, SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                await asyncio.sleep(FULL_QUEUE_SECONDS)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


async def _vsock(cid: int, port: int) -> socket:
    sock = socket(AF_VSOCK, SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (cid, port))
    except BaseException:
        sock.close()
        raise
    return sock
