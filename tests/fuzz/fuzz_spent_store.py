"""A store of spent tokens that says anything: whole, in pieces, late and again.

The first octet chooses the commands, the rest is all that the store says to them.
"""

import asyncio
import re
import socket

from enclave_server.addresses import UnixAddress
from enclave_server.payment.connection import Connection
from enclave_server.payment.resp import MAX_REPLY_BYTES, Kind, MalformedReply, Reply
from tests.fuzz.faults import replaced, returns
from tests.fuzz.reading import Attempt, Refused, ways

MAX_BYTES = 512
KINDS = [[Kind.PREVIOUS], [Kind.DONE] * 3, [Kind.COUNT, Kind.DONE], [Kind.PREVIOUS] * 2]
PATTERNS = {
    Kind.PREVIOUS: rb"\$(?:-1|17\r\n([hs].{16}))\r\n",
    Kind.DONE: rb"\+OK\r\n",
    Kind.COUNT: rb":[01]\r\n",
}
HELD = b"$17\r\nh" + bytes(range(16)) + b"\r\n"

attempt = Attempt(MalformedReply, ConnectionResetError)

FAULTS = (
    replaced("enclave_server.payment.resp._END", b"\n"),
    replaced("enclave_server.payment.resp.SPENT", b"x"),
    returns("enclave_server.payment.resp._value", lambda reply: reply or Reply(b"", 5)),
    replaced("enclave_server.payment.connection.MAX_REPLY_BYTES", 1 << 20),
)


def seeds() -> list[bytes]:
    """Return good replies, several, cut and spliced ones, and those of other commands."""
    good = [b"$-1\r\n", HELD, HELD.replace(b"h", b"s"), b"+OK\r\n" * 3, b":1\r\n+OK\r\n"]
    wrong = [b"-LOADING\r\n", b":2\r\n", b"$17\r\nx", HELD[:-1] + b"!", b"$17\n", b"*1\r\n"]
    spliced = [good[0] + HELD, HELD + HELD, HELD[:7] + good[0], b"$-1\r", b"x" * 300]
    return [bytes([number]) + each for number in range(4) for each in good + wrong + spliced]


class Store:
    """Plays a store into a socket pair, and notes how much is asked for at a time."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.most = 0

    async def sock_sendall(self, sock: socket.socket, data: bytes) -> None:
        """Take what is sent."""

    async def sock_recv(self, sock: socket.socket, size: int) -> bytes:
        """Return the next piece, or as much of it as is wanted; nothing at the end."""
        self.most = max(self.most, size)
        if not self.pieces:
            return b""
        piece = self.pieces[0]
        self.pieces[0] = piece[size:]
        if not self.pieces[0]:
            del self.pieces[0]
        return piece[:size]


def run(data: bytes) -> None:
    """Give the replies to commands in every way in which they may arrive."""
    kinds = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    said = data[1:]
    expected, size = _expected(kinds, said)
    for pieces in ways(said):
        store = Store(pieces)
        found = attempt(asyncio.run, _exchange(store, kinds))
        assert store.most <= MAX_REPLY_BYTES * len(kinds)
        if isinstance(found, Refused):
            # What comes behind the last reply is refused with it, or with the next command.
            assert expected is None or (len(said) > size and len(pieces) < len(said))
        else:
            assert found == expected


async def _exchange(store: Store, kinds: list[Kind]) -> list[bytes | None]:
    loop = asyncio.get_running_loop()
    loop.sock_sendall = store.sock_sendall  # type: ignore[assignment,method-assign]
    loop.sock_recv = store.sock_recv  # type: ignore[assignment,method-assign]
    opened = Connection(UnixAddress(""))
    with socket.socket() as sock:
        opened._socket = sock
        return [reply.value for reply in await opened.exchange(b"", kinds)]


def _expected(kinds: list[Kind], said: bytes) -> tuple[list[bytes | None] | None, int]:
    """Return what the replies say by another reading, and their size; None if they are none."""
    match = re.match(b"".join(PATTERNS[kind] for kind in kinds), said, re.DOTALL)
    if match is None:
        return None, 0
    values = iter(match.groups())
    return [next(values) if kind is Kind.PREVIOUS else None for kind in kinds], match.end()
