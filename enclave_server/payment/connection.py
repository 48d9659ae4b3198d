"""A connection to the store on the host: commands out, exactly their replies back.

Whatever goes wrong ends the connection, so that no reply is ever taken for that to another command.
"""

import asyncio
import socket
from collections.abc import Sequence

from enclave_server.addresses import Address, TcpAddress, UnixAddress, VsockAddress
from enclave_server.payment.resp import MAX_REPLY_BYTES, Kind, MalformedReply, Reply, take_reply

MAX_PIECE_BYTES = 4096
"""Of replies at a time: more is not read, and so not held, whatever is sent."""


class Connection:
    """One connection that is made when it is needed; one exchange at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._turn = asyncio.Lock()

    async def exchange(self, commands: bytes, kinds: Sequence[Kind]) -> list[Reply]:
        """Send commands, and return their replies, which are of these kinds.

        Raises OSError, or MalformedReply. The caller sets the time.
        """
        async with self._turn:
            try:
                return await self._exchange(commands, kinds)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close; the next exchange connects anew."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _exchange(self, commands: bytes, kinds: Sequence[Kind]) -> list[Reply]:
        loop = asyncio.get_running_loop()
        if self._socket is None:
            self._socket = await connect(self._address)
        await loop.sock_sendall(self._socket, commands)
        replies: list[Reply] = []
        waiting = bytearray()
        while len(replies) < len(kinds):
            wanted = min(MAX_PIECE_BYTES, MAX_REPLY_BYTES * (len(kinds) - len(replies)))
            piece = await loop.sock_recv(self._socket, wanted)
            if not piece:
                raise ConnectionResetError
            waiting += piece
            _take(kinds, waiting, replies)
        if waiting:
            raise MalformedReply
        return replies


def _take(kinds: Sequence[Kind], waiting: bytearray, replies: list[Reply]) -> None:
    """Move all complete replies from `waiting` to `replies`."""
    while len(replies) < len(kinds):
        reply = take_reply(kinds[len(replies)], waiting)
        if reply is None:
            return
        del waiting[: reply.size]
        replies.append(reply)


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
