"""A connection to the store on the host: commands out, exactly their replies back, in order.

Many exchanges may be under way; none waits for the one before it to end. Whatever goes wrong, also
that a reply is late, ends the connection and every exchange on it, so that no reply is ever taken
for that to another command. Of what arrives no more is read at a time, and no more kept, than a few
replies have.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from enclave_server.addresses import Address, TcpAddress, UnixAddress, VsockAddress
from enclave_server.payment.resp import Kind, MalformedReply, Reply, take_reply

MAX_PIECE_BYTES = 4096
"""Of replies at a time: more is not read, and so not held, whatever is sent."""


@dataclass(slots=True)
class Exchange:
    """Commands whose replies, of these kinds, are to come before `deadline` of the loop's clock."""

    kinds: Sequence[Kind]
    deadline: float
    done: asyncio.Future[list[Reply]]
    replies: list[Reply] = field(default_factory=list)


class Link(asyncio.BufferedProtocol):
    """One connection while it lasts."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._piece = bytearray(MAX_PIECE_BYTES)
        self._waiting = bytearray()
        self._exchanges: deque[Exchange] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether something can be asked."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; part of the protocol's contract with the event loop, as all that follow."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream transport")
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """End all that is under way."""
        self._fail(ConnectionResetError())

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return where the next octets go."""
        return self._piece

    def buffer_updated(self, nbytes: int) -> None:
        """Take the replies that are complete."""
        self._waiting += memoryview(self._piece)[:nbytes]
        try:
            while self._waiting and self._take():
                pass
        except MalformedReply as error:
            self._fail(error)

    def ask(
        self, commands: bytes, kinds: Sequence[Kind], deadline: float
    ) -> asyncio.Future[list[Reply]]:
        """Send commands; return what becomes their replies, an OSError or MalformedReply."""
        done = self._loop.create_future()
        if self._transport is None:
            done.set_exception(ConnectionResetError())
            return done
        self._exchanges.append(Exchange(kinds, deadline, done))
        if self._timer is None or deadline < self._timer.when():
            self._set_timer(deadline)
        self._transport.write(commands)
        return done

    def close(self) -> None:
        """End the connection."""
        self._fail(ConnectionResetError())

    def _take(self) -> bool:
        """Take a reply; False if there is none yet."""
        if not self._exchanges:
            raise MalformedReply
        exchange = self._exchanges[0]
        reply = take_reply(exchange.kinds[len(exchange.replies)], self._waiting)
        if reply is None:
            return False
        del self._waiting[: reply.size]
        exchange.replies.append(reply)
        if len(exchange.replies) == len(exchange.kinds):
            self._exchanges.popleft()
            if not exchange.done.done():  # else nobody waits for it any more
                exchange.done.set_result(exchange.replies)
        return True

    def _fail(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        failed, self._exchanges = self._exchanges, deque()
        for exchange in failed:
            if not exchange.done.done():
                exchange.done.set_exception(error)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        """End the connection if a reply is late; else look again when the next would be."""
        self._timer = None
        if not self._exchanges:
            return
        first = min(exchange.deadline for exchange in self._exchanges)
        if first <= self._loop.time():
            self._fail(TimeoutError())
        else:
            self._set_timer(first)


class Connection:
    """Links to one address, made when they are needed, one at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._link: Link | None = None
        self._dialing = asyncio.Lock()

    async def exchange(self, commands: bytes, kinds: Sequence[Kind], seconds: float) -> list[Reply]:
        """Send commands, and return their replies, which are of these kinds.

        Raises OSError, also when it takes longer than so many seconds, or MalformedReply.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        link = self._link
        if link is None or not link.is_open:
            async with asyncio.timeout_at(deadline):
                link = await self._dialed()
        return await link.ask(commands, kinds, deadline)

    def close(self) -> None:
        """Close; the next exchange connects anew."""
        if self._link is not None:
            self._link.close()

    async def _dialed(self) -> Link:
        async with self._dialing:
            if self._link is None or not self._link.is_open:
                self._link = await dial(self._address)
            return self._link


async def dial(address: Address) -> Link:
    """Return a link to `address`; raises OSError."""
    sock = await connect(address)
    try:
        _, link = await asyncio.get_running_loop().create_connection(Link, sock=sock)
    except BaseException:
        sock.close()
        raise
    return link


async def connect(address: Address) -> socket.socket:
    """Return a socket that is connected and does not block; raises OSError."""
    loop = asyncio.get_running_loop()
    match address:
        case UnixAddress(path):
            return await _connected(socket.AF_UNIX, path)
        case VsockAddress(cid, port):
            return await _connected(socket.AF_VSOCK, (cid, port))
        case TcpAddress(host, port):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, _, _, _, target = found[0]
            sock = await _connected(family, target)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock


async def _connected(family: int, target: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_UNIX:
            sock.connect(target)  # type: ignore[arg-type]  # at once, or its queue is full: OSError
        else:
            await asyncio.get_running_loop().sock_connect(sock, target)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock
