"""Connections to upstreams over Unix sockets, TCP and vsock, as httpcore's network streams."""

import asyncio
import os
import select
import ssl
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from socket import AF_UNIX, AF_VSOCK, SO_RCVBUF, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any

import httpcore

from enclave_server.addresses import TcpAddress, UnixAddress, VsockAddress
from enclave_server.chat.models import Upstream

# Read ahead of the reader, at most twice this for each connection.
READ_AHEAD = 16 * 1024

# What the kernel may keep of an answer that nobody takes; left to itself it keeps megabytes.
KERNEL_BYTES = 128 * 1024

# Every read goes here first and is taken out before the next one: a worker has one event loop.
# What asyncio would read into otherwise is a quarter of a megabyte, made anew for every read.
_arriving = memoryview(bytearray(READ_AHEAD))

# Shorter writes are gathered until something is read.
WRITE_TOGETHER = 64 * 1024

# RFC 8305, Section 5: the recommended delay before the next address is tried as well.
NEXT_ADDRESS_SECONDS = 0.25

# Until a Unix socket whose queue of connections was full is asked again.
FULL_QUEUE_SECONDS = 0.01


class SocketStream(asyncio.BufferedProtocol, httpcore.AsyncNetworkStream):
    """A connected stream: read, write, close, with backpressure both ways.

    `handed_over` counts the octets that were given to the operating system or to TLS.
    """

    def __init__(self) -> None:
        self.handed_over = 0
        self._transport: asyncio.Transport | None = None
        self._socket: TransportSocket
        self._encrypted = False
        self._buffer = bytearray()
        self._unsent = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._writable = asyncio.Event()
        self._readable = asyncio.Event()
        self._writable.set()

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream transport")
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, KERNEL_BYTES)
        self._encrypted = transport.get_extra_info("ssl_object") is not None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read into."""
        return _arriving

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what arrived; stop reading when that is enough."""
        self._buffer += _arriving[:nbytes]
        self._readable.set()
        if len(self._buffer) >= READ_AHEAD:
            self._connected.pause_reading()

    def eof_received(self) -> bool:
        """Note the end; returning False closes the other direction too."""
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self._end(exc)
        self._writable.set()

    def pause_writing(self) -> None:
        """Make `write` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `write` go on."""
        self._writable.set()

    def _end(self, error: Exception | None) -> None:
        self._ended, self._error = True, self._error or error
        self._readable.set()

    @property
    def _connected(self) -> asyncio.Transport:
        if self._transport is None:
            raise httpcore.ConnectError
        return self._transport

    # What httpcore asks for.

    # The parameter `timeout` is httpcore's interface.
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return up to `max_bytes` octets, or none at the end; raises httpcore's errors.

        What was written before is sent first.
        """
        if self._unsent:
            self._flush()
        try:
            if not self._readable.is_set():
                async with asyncio.timeout(timeout):
                    await self.arrival()
        except TimeoutError:
            raise httpcore.ReadTimeout from None
        return self._take(max_bytes)

    def watch(self) -> None:
        """Let the event loop read what arrives, and notice the end."""
        self._connected.resume_reading()

    async def arrival(self) -> None:
        """Return when `take_arrived` has something to say."""
        self.watch()
        await self._readable.wait()

    def take_arrived(self) -> bytes | None:
        """Return what has arrived, nothing (b"") at the end, None if none has; raises ReadError.

        At most READ_AHEAD octets, so that taking them is soon done.
        """
        return self._take(READ_AHEAD) if self._readable.is_set() else None

    def ask(self) -> bytes | None:
        """Return the same as `take_arrived`, from the kernel: the event loop looks away.

        It is not woken for what arrives, 10 µs an event, until `read`, `arrival` or `watch`.
        """
        if self._encrypted:
            return self._ask_tls()
        self._connected.pause_reading()
        if self._readable.is_set():
            return self.take_arrived()
        try:
            size = os.readv(self._socket.fileno(), (_arriving,))
        except BlockingIOError:
            return None
        except OSError as error:
            self._end(error)
            raise httpcore.ReadError from None
        if not size:
            self._end(None)
        return bytes(_arriving[:size])

    def _ask_tls(self) -> bytes | None:
        """Do without the kernel: what comes from there means something to asyncio alone."""
        data = self.take_arrived()
        if not self._readable.is_set():
            self.watch()
        return data

    def _take(self, max_bytes: int) -> bytes:
        if not self._buffer and self._error is not None:
            raise httpcore.ReadError
        data = bytes(self._buffer[:max_bytes])
        del self._buffer[:max_bytes]
        if not self._buffer and not self._ended:
            self._readable.clear()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Take `buffer`, and wait until there is room for more; raises httpcore's write errors."""
        self._unsent += buffer
        if len(self._unsent) < WRITE_TOGETHER:
            return  # a request's head and body go out together, when the answer is waited for
        self._flush()
        try:
            async with asyncio.timeout(timeout):
                await self._writable.wait()
        except TimeoutError:
            raise httpcore.WriteTimeout from None
        if self._error is not None:
            raise httpcore.WriteError

    def _flush(self) -> None:
        if self._ended or self._connected.is_closing():
            raise httpcore.WriteError
        self.handed_over += len(self._unsent)
        self._connected.write(bytes(self._unsent))
        self._unsent.clear()

    def close(self) -> None:
        """Close at once, so that the upstream notices."""
        if self._transport is not None:
            self._transport.abort()

    async def aclose(self) -> None:
        """Close at once."""
        self.close()

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore wants to know: whether an idle connection has something to read."""
        if info == "is_readable":
            return self._ended or bool(self._buffer) or self._has_input()
        if info == "ssl_object":
            return self._connected.get_extra_info("ssl_object")
        return None

    def _has_input(self) -> bool:
        """Ask the operating system, which knows of a close before the event loop does."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


async def connect(upstream: Upstream, context: ssl.SSLContext | None) -> SocketStream:
    """Return a connection to `upstream`, encrypted if there is a `context`.

    Raises httpcore.ConnectError, also for a certificate that does not verify, or ConnectTimeout.
    """
    try:
        async with asyncio.timeout(upstream.connect_seconds):
            return await _open(upstream, context)
    except TimeoutError:
        raise httpcore.ConnectTimeout from None
    except OSError:  # ssl.SSLError is one
        raise httpcore.ConnectError from None


async def _open(upstream: Upstream, context: ssl.SSLContext | None) -> SocketStream:
    loop = asyncio.get_running_loop()
    new: Callable[[], SocketStream] = SocketStream
    tls: dict[str, Any] = {"ssl": context, "server_hostname": upstream.tls_name}
    if context is None:
        tls = {}
    match upstream.address:
        case UnixAddress(path):
            _, stream = await loop.create_connection(new, sock=await _unix(path), **tls)
        case TcpAddress(host, port):
            _, stream = await loop.create_connection(
                new, host, port, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, **tls
            )
        case VsockAddress(cid, port):
            _, stream = await loop.create_connection(new, sock=await _vsock(cid, port), **tls)
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
