"""What each part on the way adds to the delay of a streamed piece, and that it adds little.

The figures are printed (`pytest -rP` with this file); only what would be noticed by a
reader of the answer fails, because a busy machine is no fault of the parts.
"""

import asyncio
import contextlib
import functools
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trustme

from scripts.local.stack import Child, silent
from tests.support.stack import NGINX, nginx_relay, parse, reference_relay

PIECES = 100
PIECE_BYTES = 512
SPACING_SECONDS = 0.005
NOTICED_SECONDS = 0.25
DEADLINE_SECONDS = 120
HEAD = b"POST /v1/ohttp HTTP/1.1\r\nHost: r\r\nContent-Type: message/ohttp-chunked-req\r\n"
HEAD += b"Content-Length: 6\r\n\r\nsealed"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: message/ohttp-chunked-res\r\n"
ANSWER += b"Transfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def nothing(gateway: str, _: Path) -> Iterator[str]:
    """Nothing between: what the measurement itself costs."""
    yield gateway


@contextlib.contextmanager
def proxy(gateway: str, _: Path) -> Iterator[str]:
    """host_proxy between."""
    program = Path(sys.executable).parent / "host-proxy"
    child = Child("proxy", [program, "--listen", "tcp://127.0.0.1:0", "--connect", gateway], {})
    try:
        child.wait_ready(silent)
        yield child.address
    finally:
        child.stop()


@contextlib.contextmanager
def relay(gateway: str, _: Path) -> Iterator[str]:
    """The reference relay between."""
    with reference_relay(gateway) as url:
        yield url


@contextlib.contextmanager
def nginx(gateway: str, folder: Path) -> Iterator[str]:
    """nginx between."""
    with nginx_relay(gateway, folder / "nginx") as url:
        yield url


class Authority:
    """Vouches for the gateway and for the relay, and knows whom to trust for it."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.gateway = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("gateway.example.com").configure_cert(self.gateway)
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(self.client)


@functools.cache
def authority() -> Authority:
    """Return the one of this run."""
    return Authority()


@contextlib.contextmanager
def nginx_over_tls(gateway: str, folder: Path) -> Iterator[str]:
    """nginx between, with TLS on both sides of it."""
    vouching = authority().authority
    own = vouching.issue_cert("127.0.0.1")
    with nginx_relay(gateway, folder / "nginx", vouching, own) as url:
        yield url


Between = Callable[[str, Path], contextlib.AbstractContextManager[str]]
PARTS: dict[str, Between] = {"nothing": nothing, "host_proxy": proxy, "relay.py": relay}
if NGINX is not None:
    PARTS["nginx"] = nginx
    PARTS["nginx over TLS"] = nginx_over_tls


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with pieces that say when they were sent."""
    await reader.readuntil(b"sealed")
    writer.write(ANSWER)
    for _ in range(PIECES):
        await asyncio.sleep(SPACING_SECONDS)
        piece = b"%.9f" % time.monotonic()
        writer.write(b"%x\r\n%b\r\n" % (PIECE_BYTES, piece.ljust(PIECE_BYTES)))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    writer.close()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def between(name: str, folder: Path, serve: Serve) -> AsyncIterator[str]:
    """Run a part before a gateway that serves as told; give the part's address."""
    path = folder / "gateway"
    tls = authority().gateway if PARTS[name] is nginx_over_tls else None
    server = await asyncio.start_unix_server(serve, path, ssl=tls)
    with contextlib.ExitStack() as part:
        yield part.enter_context(PARTS[name](f"unix:{path}", folder))
        # Beside this loop, which closes connections meanwhile: a proxy waits for their end.
        await asyncio.to_thread(part.close)
    server.close()


async def opened(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = parse(address)
    if isinstance(place, str):
        return await asyncio.open_unix_connection(place)
    tls = authority().client if address.startswith("https:") else None
    return await asyncio.open_connection(*place, ssl=tls)


async def delays(address: str) -> list[float]:
    """Ask at `address` and return for how long each piece was under way, in seconds."""
    reader, writer = await opened(address)
    writer.write(HEAD)
    await reader.readuntil(b"\r\n\r\n")
    found, data = [], b""
    while size := int(await reader.readline(), 16):  # a busy relay may join pieces
        data += (await reader.readexactly(size + 2))[:-2]
        while len(data) >= PIECE_BYTES:
            found.append(time.monotonic() - float(data[:PIECE_BYTES]))
            data = data[PIECE_BYTES:]
    writer.close()
    return found


@pytest.mark.parametrize("name", list(PARTS))
def test_a_piece_is_passed_on_at_once(name: str, tmp_path: Path) -> None:
    async def run() -> list[float]:
        async with between(name, tmp_path, serve) as address:
            return await asyncio.wait_for(delays(address), DEADLINE_SECONDS)

    found = asyncio.run(run())
    assert len(found) == PIECES
    ordered = sorted(found)
    median, tail = statistics.median(found), ordered[len(ordered) * 99 // 100]
    print(f"{name}: median {median * 1e6:.0f} µs, 99th percentile {tail * 1e6:.0f} µs")
    assert median < NOTICED_SECONDS


SAID = (b"a", b"few", b"words", b"at a time")


@pytest.mark.parametrize("name", list(PARTS))
def test_no_piece_waits_for_the_next(name: str, tmp_path: Path) -> None:
    """The next piece is sent when the one before has been read: whoever kept it back would stop."""
    read = asyncio.Event()

    async def wait_for_reader(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"sealed")
        writer.write(ANSWER)
        for piece in SAID:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await read.wait()
            read.clear()
        writer.write(b"0\r\n\r\n")
        writer.close()

    async def run() -> None:
        async with (
            between(name, tmp_path, wait_for_reader) as address,
            asyncio.timeout(DEADLINE_SECONDS),
        ):
            reader, writer = await opened(address)
            writer.write(HEAD)
            for piece in SAID:
                await reader.readuntil(piece + b"\r\n")
                read.set()
            assert await reader.readuntil(b"0\r\n\r\n")
            writer.close()

    asyncio.run(run())
