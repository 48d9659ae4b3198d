"""Requests, handlers and limits for tests of outer HTTP at its socket."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from enclave_server.http.limits import Limits
from enclave_server.http.messages import OuterRequest, OuterResponse
from tests.support.sockets import Peer

FAMILIES = pytest.mark.parametrize("family", ["unix", "tcp"])

MIB = 1024 * 1024
QUICK = Limits(
    head_seconds=0.2,
    body_grace_seconds=0.2,
    idle_seconds=0.2,
    stall_seconds=0.3,
    linger_seconds=0.3,
    probe_seconds=0.02,
)


def get(path: str = "/a", *fields: str, version: str = "1.1") -> bytes:
    lines = (f"GET {path} HTTP/{version}", "Host: a", *fields, "", "")
    return "\r\n".join(lines).encode()


def post(size: int, path: str = "/a", *fields: str) -> bytes:
    """Return the head of a request with `size` octets of content."""
    return get(path, f"Content-Length: {size}", *fields).replace(b"GET", b"POST", 1)


def refuse_refused(request: OuterRequest) -> OuterResponse | None:
    """Screen: the path decides."""
    return OuterResponse(403, (), b"no", "refused") if request.path == b"/refused" else None


class Gate:
    """A handler that waits until it is let go, and notes that it was cancelled."""

    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0
        self.open = asyncio.Event()

    async def __call__(self, request: OuterRequest) -> OuterResponse:
        self.running += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return OuterResponse(200, (), request.path, "gate")


class Fountain:
    """A handler that streams pieces for as long as they are taken."""

    def __init__(self, pieces: int, size: int) -> None:
        self.pieces = pieces
        self.size = size
        self.given = 0
        self.closed = 0

    async def __call__(self, request: OuterRequest) -> OuterResponse:
        return OuterResponse(200, (), self.stream(), "fountain")

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(self.pieces):
                self.given += 1
                yield b"x" * self.size
                await asyncio.sleep(0)
        finally:
            self.closed += 1


async def ended(peer: Peer) -> bool:
    """Whether the server ends the connection, orderly or not."""
    try:
        return await peer.read_to_end() == b""
    except ConnectionResetError:
        return True


async def settled(figure: Callable[[], int]) -> int:
    """Return a figure once it has stood still for a while."""
    last = -1
    while figure() != last:
        last = figure()
        await asyncio.sleep(0.2)
    return last
