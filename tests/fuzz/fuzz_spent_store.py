"""A store of spent tokens that says anything: whole, in pieces, late and again.

The first octet chooses the commands, the rest is all that the store says to them.
"""

import asyncio
import re

from enclave_server.payment.connection import Link
from enclave_server.payment.resp import MAX_REPLY_BYTES, Kind, MalformedReply, Reply
from tests.fuzz.faults import replaced, returns
from tests.fuzz.reading import REFUSED, Attempt, ways

MAX_BYTES = 512
KINDS = [[Kind.PREVIOUS], [Kind.DONE] * 3, [Kind.COUNT, Kind.DONE], [Kind.PREVIOUS] * 2]
PATTERNS = {
    Kind.PREVIOUS: rb"\$(?:-1|17\r\n([hs].{16}))\r\n",
    Kind.DONE: rb"\+OK\r\n",
    Kind.COUNT: rb":[01]\r\n",
}
HELD = b"$17\r\nh" + bytes(range(16)) + b"\r\n"

attempt = Attempt(MalformedReply, ConnectionResetError, TimeoutError)

FAULTS = (
    replaced("enclave_server.payment.resp._END", b"\n"),
    replaced("enclave_server.payment.resp.SPENT", b"x"),
    returns("enclave_server.payment.resp._value", lambda reply: reply or Reply(b"", 5)),
    replaced(
        "enclave_server.payment.connection.take_reply", lambda _, data: Reply(None, len(data))
    ),
)


def seeds() -> list[bytes]:
    """Return good replies, several, cut and spliced ones, and those of other commands."""
    good = [b"$-1\r\n", HELD, HELD.replace(b"h", b"s"), b"+OK\r\n" * 3, b":1\r\n+OK\r\n"]
    wrong = [b"-LOADING\r\n", b":2\r\n", b"$17\r\nx", HELD[:-1] + b"!", b"$17\n", b"*1\r\n"]
    spliced = [good[0] + HELD, HELD + HELD, HELD[:7] + good[0], b"$-1\r", b"x" * 300]
    return [bytes([number]) + each for number in range(4) for each in good + wrong + spliced]


class NoSocket(asyncio.Transport):
    """Stands in for the socket of a link."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take what is sent."""

    def abort(self) -> None:
        """End."""


def run(data: bytes) -> None:
    """Give the replies to commands in every way in which they may arrive."""
    kinds = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    said = data[1:]
    expected, size = _expected(kinds, said)
    for pieces in ways(said):
        found = attempt(asyncio.run, _exchange(pieces, kinds))
        # What comes behind the last reply ends the connection, and takes nothing back.
        assert found == (REFUSED if expected is None else expected)
    assert size <= len(said)


async def _exchange(pieces: list[bytes], kinds: list[Kind]) -> list[bytes | None]:
    link = Link()
    link.connection_made(NoSocket())
    done = link.ask(b"", kinds, asyncio.get_running_loop().time() + 3600)
    for piece in pieces:
        if link.is_open and piece:
            link.get_buffer(0)[: len(piece)] = piece
            link.buffer_updated(len(piece))
        assert len(link._waiting) < MAX_REPLY_BYTES
    link.close()
    return [reply.value for reply in await done]


def _expected(kinds: list[Kind], said: bytes) -> tuple[list[bytes | None] | None, int]:
    """Return what the replies say by another reading, and their size; None if they are none."""
    match = re.match(b"".join(PATTERNS[kind] for kind in kinds), said, re.DOTALL)
    if match is None:
        return None, 0
    values = iter(match.groups())
    return [next(values) if kind is Kind.PREVIOUS else None for kind in kinds], match.end()
