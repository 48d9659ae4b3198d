"""One connection to an upstream as a stream of octets, with backpressure, plain or in TLS."""

import asyncio
import contextlib
import os
import select
import ssl
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from socket import SO_RCVBUF, SOL_SOCKET

from enclave_server.chat.upstream.tls import Tls

# Read ahead of the reader, at most twice this for each connection.
READ_AHEAD = 16 * 1024

# Encrypted and handed over in one turn of the event loop: less than a millisecond.
PIECE_BYTES = 256 * 1024

# What the kernel may keep of an answer that nobody takes; left to itself it keeps megabytes.
KERNEL_BYTES = 128 * 1024

# Every read goes here first and is taken out before the next one: a worker has one event loop.
# A buffer for each connection would be most of its memory.
_arriving = memoryview(bytearray(READ_AHEAD))


class Stream(asyncio.BufferedProtocol):
    """A connected stream.

    What arrives is taken either as the event loop reads it (`arrival`, `take_arrived`) or from the
    kernel (`ask`). Once the stream has ended and all is taken, taking says b"" if the peer closed
    it, and raises ConnectionError if it broke, ssl.SSLError if it broke amid TLS's records or one
    of them was spoilt, TimeoutError if it was given up with `expire`.
    """

    __slots__ = (
        "_buffer",
        "_ended",
        "_failure",
        "_full",
        "_left",
        "_poll",
        "_silent",
        "_socket",
        "_spoiled",
        "_tls",
        "_transport",
        "_waiter",
        "arrived",
    )

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._socket: TransportSocket
        self._poll = select.poll()
        self._tls: Tls | None = None
        self._silent = True  # not one octet of TLS has arrived since something was sent
        self._buffer = b""
        self.arrived = 0  # octets, as they came
        self._ended = False
        self._full = False  # so much waits to be sent that no more should
        self._failure: type[OSError] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._spoiled: Callable[[Stream], None] | None = None
        self._left: Callable[[], None] | None = None  # nobody reads it any more

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream transport")
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, KERNEL_BYTES)
        self._poll.register(self._socket, select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read into."""
        return _arriving

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what arrived; stop reading when that is enough."""
        self._keep(nbytes)
        if len(self._buffer) >= READ_AHEAD:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Note that the peer takes nothing at the moment."""
        self._full = True

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._full = False
        self._wake_waiter()

    def eof_received(self) -> bool:
        """Note the end; returning False closes the other direction too."""
        self._end_of_input()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, and wake whoever waits."""
        self._end(None if exc is None else self._broken())

    def _keep(self, size: int) -> None:
        self.arrived += size
        data = bytes(_arriving[:size])
        if self._tls is not None:
            data = self._decrypt(self._tls, data)
        if data and self._left is None:
            self._buffer += data
            self._wake()

    def _decrypt(self, tls: Tls, data: bytes) -> bytes:
        self._silent = False
        try:
            data = tls.decrypt(data)
        except ssl.SSLError:
            self._end(ssl.SSLError)
            return b""
        self._send_pending(tls)
        if tls.is_closed:
            self._end(None)
        return data

    def _end_of_input(self) -> None:
        # RFC 9112, Section 9.8: without TLS's own closure anybody on the way may have cut it off.
        self._end(None if self._tls is None else self._broken())

    def _broken(self) -> type[OSError]:
        return ConnectionError if self._silent else ssl.SSLEOFError

    def _end(self, failure: type[OSError] | None) -> None:
        """Take note of the end; what was said of it first counts."""
        if not self._ended:
            self._ended, self._failure = True, failure
            self._wake()
        self._tell_end()

    def _wake_waiter(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake(self) -> None:
        self._wake_waiter()
        if self._spoiled is not None:
            self._spoiled(self)

    # What whoever uses it asks for.

    async def arrival(self) -> None:
        """Return when `take_arrived` has something to say."""
        self._transport.resume_reading()
        while not self._buffer and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def take_arrived(self) -> bytes | None:
        """Return what has arrived, nothing (b"") at the end, None if none has.

        Raises ConnectionError, ssl.SSLError or TimeoutError.
        """
        data = self._buffer
        if data:
            self._buffer = b""
            return data
        if self._failure is not None:
            raise self._failure
        return b"" if self._ended else None

    def ask(self) -> bytes | None:
        """Return the same as `take_arrived`, from the kernel: the event loop looks away.

        It is not woken for what arrives, 10 µs an event, until `arrival` or `keep`.
        """
        self._transport.pause_reading()
        if not self._buffer and not self._ended:
            self._read()
        return self.take_arrived()

    def _read(self) -> None:
        """Read what the kernel has, be it nothing."""
        try:
            size = os.readv(self._socket.fileno(), (_arriving,))
        except BlockingIOError:
            return
        except OSError:
            self._end(self._broken())
            return
        if size:
            self._keep(size)
        else:
            self._end_of_input()

    @property
    def has_untaken(self) -> bool:
        """Whether anything waits for its reader, here or in the kernel."""
        return bool(self._buffer or self._poll.poll(0))

    def is_quiet(self) -> bool:
        """Whether all was sent and nothing came that was not taken."""
        unsent = self._transport.get_write_buffer_size()
        return not (self._buffer or self._ended or unsent)

    def rest(self, spoiled: Callable[["Stream"], None]) -> None:
        """Call `spoiled` with this stream as soon as anything arrives, or it ends."""
        self._spoiled = spoiled
        self._transport.resume_reading()

    def is_usable(self) -> bool:
        """End the rest; tell whether it was undisturbed until now.

        The kernel is asked, which knows of what arrived, and of an end, before the event loop.
        """
        self._spoiled = None
        if self._poll.poll(0):
            self._read()
        return self.is_quiet()

    def send(self, data: bytes) -> bool:
        """Send `data`; return False if not one octet of it went, since the stream has ended."""
        if self._ended or self._transport.is_closing():
            return False
        self._silent = True
        if self._tls is None:
            self._transport.write(data)
            return True
        for piece in self._tls.encrypt(data):
            self._transport.write(piece)
        return True

    async def send_in_turns(self, data: bytes) -> bool:
        """Do what `send` does; between pieces of what is long the event loop goes round.

        A peer that does not take what it is sent is waited for, unless it says something.
        """
        sent = self.send(data[:PIECE_BYTES])
        for start in range(PIECE_BYTES, len(data), PIECE_BYTES):
            await asyncio.sleep(0)
            await self._until_room()
            if not self.send(data[start : start + PIECE_BYTES]):
                break  # what it has said before its end is still to be read
        return sent

    async def _until_room(self) -> None:
        """Wait while the peer takes nothing: what waits for it is moved with each piece more."""
        while self._full and not self._buffer and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    async def secure(self, tls: Tls) -> None:
        """Do TLS's handshake, and all from then on in TLS; raises OSError (as ssl.SSLError is)."""
        try:
            while not tls.shake_hands():
                self._send_pending(tls)
                await self.arrival()
                tls.receive(self.take_arrived() or b"")
        finally:
            self._send_pending(tls)  # an alert, if it has failed
        self._tls = tls
        self._buffer = self._decrypt(tls, b"")

    def leave(self, ended: Callable[[], None]) -> None:
        """Say that nothing more is wanted, and call `ended` when the peer has closed its side.

        What it still says is dropped. A plain connection alone can be closed by halves.
        """
        self._spoiled, self._left, self._buffer = None, ended, b""
        self._say_end()
        if self._transport.is_closing():
            self.close()
        else:
            self._transport.resume_reading()

    def _say_end(self) -> None:
        """Send nothing more, and have the peer know: by closing all where halves cannot be."""
        if self._tls is not None:
            self.close()
        elif not self._transport.is_closing():
            with contextlib.suppress(OSError):  # it may have ended a moment ago
                self._transport.write_eof()

    def _tell_end(self) -> None:
        if self._left is not None:
            ended, self._left = self._left, None
            self._transport.abort()
            ended()

    def _send_pending(self, tls: Tls) -> None:
        if data := tls.pending():
            self._transport.write(data)

    def expire(self) -> None:
        """Give up: whoever reads sees TimeoutError, and has to close."""
        self._end(TimeoutError)
        self._say_end()

    def close(self) -> None:
        """Close at once, so that the upstream notices."""
        self._spoiled = None
        self._end(ConnectionError)
        self._transport.abort()
