#!/usr/bin/env python3
"""A reference Oblivious HTTP relay (RFC 9458, Section 6) for trials and tests.

    scripts/relay.py --listen tcp://127.0.0.1:8080 --gateway http://127.0.0.1:8443

It hands on a sealed body and its media type, nothing else, as the bytes come in; it keeps one copy
of the gateway's keys, evidence and releases for everybody; it writes no log. For real use run nginx
with scripts/deploy/relay-nginx.conf.
"""

import argparse
import asyncio
import errno
import json
import re
import resource
import signal
import socket
import ssl
import sys
import time
import urllib.parse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

try:
    import h11
except ModuleNotFoundError:
    sys.exit(
        "error: h11 is missing: use a Python that has it, as .venv/bin/python scripts/relay.py"
    )

HEAD_BYTES = 16 * 1024  # more than any browser sends
BODY_BYTES = 22 * 1024 * 1024  # a little more than the gateway takes, so that it decides
KEPT_BYTES = 1024 * 1024  # of a copy: keys and evidence take under 16 KiB, a release about one
READ_BYTES = 64 * 1024
IDLE_SECONDS = 75.0  # without a byte from the client
ANSWER_SECONDS = 300.0  # without a byte from the gateway; a long answer in one piece takes minutes
CONNECT_SECONDS = 10.0
FULL_QUEUE_SECONDS = 0.01  # between attempts; no event tells that a Unix listener has room
LINGER_SECONDS = 5.0  # for an upload that is refused, so that its sender can read why
CONNECTIONS = 1000  # each takes a descriptor, and another to the gateway
REFUSALS = 100  # above them, that are told 503; and as many may wait to be accepted
SPARE_DESCRIPTORS = 16
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
RENEW_SECONDS = 1.0  # at most this often is a copy renewed before its time

Headers = list[tuple[bytes, bytes]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUESTS: dict[bytes, Headers] = {  # the media types, and what goes with each
    b"message/ohttp-req": [],
    b"message/ohttp-chunked-req": [(b"incremental", b"?1")],
}
FETCHED = (b"GET", b"HEAD")
METHODS = {
    b"/": (b"POST",),
    b"/v1/ohttp": (b"POST",),
    b"/.well-known/ohttp-gateway": FETCHED,
    b"/v1/attestation": FETCHED,
    b"/.well-known/oblivious-inference/releases.json": FETCHED,
    b"/.well-known/oblivious-inference/keys-seen.json": FETCHED,
}
PASSED_BACK = (b"content-type", b"content-length", b"cache-control", b"retry-after", b"incremental")
LOST = (OSError, TimeoutError, h11.RemoteProtocolError)  # how a connection fails


class RefusalError(Exception):
    """The request is not carried out; `status` is all that the client is told."""

    def __init__(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


class Wire:
    """One HTTP connection: events in, events out, each under a deadline."""

    def __init__(self, state: h11.Connection, streams: Streams, seconds: float) -> None:
        self.state = state
        self.reader, self.writer = streams
        self.seconds = seconds

    async def receive(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """Return the next event, telling a client that waits with its body to go on."""
        while (event := self.state.next_event()) is h11.NEED_DATA:
            if self.state.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            async with asyncio.timeout(self.seconds):
                self.state.receive_data(await self.reader.read(READ_BYTES))
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces as they arrive."""
        while isinstance(event := await self.receive(), h11.Data):
            yield bytes(event.data)

    async def send(self, event: h11.Event) -> None:
        """Send `event`, waiting while the peer takes nothing."""
        self.writer.write(self.state.send(event) or b"")
        async with asyncio.timeout(self.seconds):
            await self.writer.drain()

    async def closed(self) -> None:
        """Return when the peer has closed; what it sends ahead of its turn is kept, to a limit."""
        while len(self.state.trailing_data[0]) <= HEAD_BYTES:
            data = await self.reader.read(READ_BYTES)
            self.state.receive_data(data)
            if not data:
                return

    async def linger(self) -> None:
        """Read what the peer still sends, for a while, so that a reset does not eat the answer."""
        with suppress(*LOST):
            async with asyncio.timeout(LINGER_SECONDS):
                async for _ in self.body():
                    pass


@dataclass(slots=True)
class Copy:
    """The one copy of a resource that all clients are given, so that none can be singled out."""

    headers: Headers = field(default_factory=list)
    body: bytes = b""
    fetched: float = 0.0
    expires: float = 0.0
    renewed: float = float("-inf")
    suspect: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where the gateway is: `address` is (host, port), or a path for a Unix socket."""

    address: tuple[str, int] | str
    name: bytes
    tls: ssl.SSLContext | None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Wire]:
        """Open a connection for one exchange."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if isinstance(self.address, str):
                    sock = await connect_unix(self.address)
                    streams = await asyncio.open_unix_connection(sock=sock)
                else:
                    streams = await asyncio.open_connection(*self.address, ssl=self.tls)
        except (OSError, TimeoutError) as error:
            raise RefusalError(502) from error
        try:
            yield Wire(h11.Connection(h11.CLIENT), streams, ANSWER_SECONDS)
        finally:
            # Hanging up at once is what tells the gateway to stop when the client has gone.
            streams[1].transport.abort()

    def request(self, method: bytes, target: bytes, headers: Headers) -> h11.Request:
        """Return the head of a request, which is the same whoever the client is."""
        common = [(b"host", self.name), (b"connection", b"close")]
        return h11.Request(method=method, target=target, headers=common + headers)

    async def response(self, wire: Wire) -> h11.Response:
        """Return the head of the answer."""
        try:
            while isinstance(event := await wire.receive(), h11.InformationalResponse):
                pass
        except TimeoutError as error:
            raise RefusalError(504) from error
        except LOST as error:
            raise RefusalError(502) from error
        if not isinstance(event, h11.Response):
            raise RefusalError(502)
        return event


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections are served, and how many more are told that there is no room."""

    connections: int = CONNECTIONS
    refusals: int = REFUSALS

    @property
    def descriptors(self) -> int:
        """How many it needs."""
        return 2 * self.connections + 2 * self.refusals + SPARE_DESCRIPTORS


class Relay:
    """Answers clients out of one gateway."""

    def __init__(self, gateway: Gateway, room: Room = Room()) -> None:
        self.gateway = gateway
        self.room = room
        self.copies = {path: Copy() for path, methods in METHODS.items() if methods is FETCHED}
        self.connections = 0

    async def serve(self, *streams: *Streams) -> None:
        """Serve one client's connection; whatever ends it ends it silently."""
        if self.connections >= self.room.connections + self.room.refusals:
            streams[1].transport.abort()
            return
        wire = Wire(h11.Connection(h11.SERVER, HEAD_BYTES), streams, IDLE_SECONDS)
        self.connections += 1
        with suppress(*LOST, h11.LocalProtocolError, asyncio.CancelledError):
            try:
                while isinstance(request := await wire.receive(), h11.Request):
                    await self.answer(wire, request)
                    wire.state.start_next_cycle()
            except h11.RemoteProtocolError as error:
                await refuse(wire, RefusalError(error.error_status_hint))
            except RefusalError as refusal:
                await refuse(wire, refusal)
        self.connections -= 1
        wire.writer.close()

    async def answer(self, wire: Wire, request: h11.Request) -> None:
        """Answer one request or raise RefusalError."""
        path = request.target.partition(b"?")[0]  # a query could tell clients apart: not handed on
        if self.connections > self.room.connections:
            raise RefusalError(503, (b"retry-after", b"5"))
        if path not in METHODS:
            raise RefusalError(404)
        if request.method not in METHODS[path]:
            raise RefusalError(405, (b"allow", b", ".join(METHODS[path])))
        if request.method == b"POST":
            await self.post(wire, dict(request.headers))
        else:
            await wire.linger()
            copy = await self.copy(dict(request.headers), path)
            await self.give(wire, copy, request.method)

    async def post(self, wire: Wire, fields: dict[bytes, bytes]) -> None:
        """Hand a sealed request on, and its answer back, both at once."""
        headers = sealed_head(fields)
        async with self.gateway.connect() as upstream:
            tasks = (
                asyncio.create_task(self.upload(wire, upstream, headers)),
                asyncio.create_task(self.download(wire, upstream)),
            )
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if not tasks[1].done():
                    await tasks[0]
                await tasks[1]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        await wire.linger()

    async def upload(self, wire: Wire, upstream: Wire, headers: Headers) -> None:
        """Hand the body on; return only if the gateway takes no more, raise if the client goes."""
        room = BODY_BYTES
        with suppress(BrokenPipeError, ConnectionResetError):
            await upstream.send(self.gateway.request(b"POST", b"/v1/ohttp", headers))
        async for data in wire.body():
            room -= len(data)
            if room < 0:
                raise RefusalError(413)
            try:
                await upstream.send(h11.Data(data=data))
            except (BrokenPipeError, ConnectionResetError):
                return  # it has answered early
        await upstream.send(h11.EndOfMessage())
        await wire.closed()
        raise ConnectionAbortedError

    async def download(self, wire: Wire, upstream: Wire) -> None:
        """Hand the answer back as it comes in."""
        head = await self.gateway.response(upstream)
        if head.status_code == 422:  # perhaps the keys have changed
            for copy in self.copies.values():
                copy.suspect = True
        await wire.send(h11.Response(status_code=head.status_code, headers=passed_back(head)))
        async for data in upstream.body():
            await wire.send(h11.Data(data=data))
        await wire.send(h11.EndOfMessage())

    async def copy(self, fields: dict[bytes, bytes], path: bytes) -> Copy:
        """Return the copy of `path`, renewed if that is due or, now and then, if it is asked for.

        Who comes while it is being renewed waits for that; who asks again too soon gets the copy.
        """
        copy = self.copies[path]
        async with copy.lock:
            now = time.monotonic()
            doubted = copy.suspect or b"no-cache" in fields.get(b"cache-control", b"")
            if doubted and now >= copy.renewed + RENEW_SECONDS:
                copy.renewed, copy.expires = now, now
            if now >= copy.expires:
                await self.fetch(path, copy, now)
        return copy

    async def give(self, wire: Wire, copy: Copy, method: bytes) -> None:
        """Answer with a copy."""
        age = b"%d" % (time.monotonic() - copy.fetched)
        headers = [*copy.headers, (b"age", age)]
        body = copy.body if method == b"GET" else b""
        await wire.send(h11.Response(status_code=200, headers=headers))
        await wire.send(h11.Data(data=body))
        await wire.send(h11.EndOfMessage())

    async def fetch(self, path: bytes, copy: Copy, now: float) -> None:
        """Renew a copy."""
        async with self.gateway.connect() as upstream:
            try:
                await upstream.send(self.gateway.request(b"GET", path, []))
                await upstream.send(h11.EndOfMessage())
                head = await self.gateway.response(upstream)
                if head.status_code != 200:
                    raise RefusalError(head.status_code)
                body = b""
                async for data in upstream.body():
                    body += data
                    if len(body) > KEPT_BYTES:
                        raise RefusalError(502)
            except LOST as error:
                raise RefusalError(502) from error
        copy.headers, copy.body = passed_back(head), body
        copy.fetched, copy.expires = now, now + max_age(copy.headers)
        copy.suspect = False


async def connect_unix(path: str) -> socket.socket:
    """Return a connected socket, waiting while the listener's queue is full.

    `connect` then says EAGAIN, which is no connection under way, though asyncio takes it for one.
    """
    sock = socket.socket(socket.AF_UNIX)
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


def sealed_head(fields: dict[bytes, bytes]) -> Headers:
    """Return the fields of a sealed request: its media type, and the size if it is known."""
    kind = fields.get(b"content-type", b"").lower()
    length = fields.get(b"content-length")
    if kind not in REQUESTS:
        raise RefusalError(415)
    if length and b"transfer-encoding" in fields:
        raise RefusalError(400)  # which of the two holds is how requests are smuggled
    if length and (len(length) > 9 or int(length) > BODY_BYTES):
        raise RefusalError(413)
    size = (b"content-length", length) if length else (b"transfer-encoding", b"chunked")
    return [(b"content-type", kind), size, *REQUESTS[kind]]


def passed_back(head: h11.Response) -> Headers:
    """Return the fields of an answer that a client needs."""
    return [(name, value) for name, value in head.headers if name in PASSED_BACK]


def max_age(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Return for how many seconds an answer may be kept, 0 if it may not (RFC 9111)."""
    control = b",".join(value.lower() for name, value in headers if name == b"cache-control")
    found = re.search(rb"(?:^|[ ,])max-age=(\d{1,9})(?:$|[ ,])", control)
    return int(found[1]) if found and b"no-store" not in control else 0


async def refuse(wire: Wire, refusal: RefusalError) -> None:
    """Answer with a status alone; if an answer has begun, h11 raises and the connection breaks."""
    headers = [(b"content-length", b"0"), (b"connection", b"close"), *refusal.headers]
    await wire.send(h11.Response(status_code=refusal.status, headers=headers))
    await wire.send(h11.EndOfMessage())
    await wire.linger()


def parse_gateway(text: str) -> Gateway:
    """Return the gateway that `http://…`, `https://…` or `unix:PATH` names."""
    if text.startswith("unix:"):
        return Gateway(text.removeprefix("unix:"), b"gateway", None)
    url = urllib.parse.urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
        raise ValueError("not a gateway's address")
    tls = ssl.create_default_context() if url.scheme == "https" else None
    port = url.port or (443 if tls else 80)
    return Gateway((url.hostname, port), url.netloc.rpartition("@")[2].encode("ascii"), tls)


def make_room() -> Room:
    """Return the room for which there are descriptors; say so if it is less than it should be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Room().descriptors
    have = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < have:
        resource.setrlimit(resource.RLIMIT_NOFILE, (have, hard))
    if have == wanted:
        return Room()
    refusals = max(1, min(REFUSALS, have // 8))
    room = Room(max(1, (have - 2 * refusals - SPARE_DESCRIPTORS) // 2), refusals)
    say("few_descriptors", have=have, wanted=wanted, connections=room.connections)
    return room


def say(event: str, **more: str | int) -> None:
    """Write a line to standard error."""
    print(json.dumps({"event": event, **more}), file=sys.stderr, flush=True)


class Seldom:
    """Takes what asyncio reports: want of descriptors, of which a second's first is told."""

    def __init__(self) -> None:
        self.told = float("-inf")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of `context` unless the like was told within the last second."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in SCARCE:
            loop.default_exception_handler(context)
        elif loop.time() >= self.told + 1:
            self.told = loop.time()
            say("accept_failed", code=errno.errorcode[error.errno])


async def listen(relay: Relay, address: str) -> tuple[asyncio.Server, str]:
    """Return the listening server and where it listens."""
    # So many are accepted at once before any of them is counted.
    queue = relay.room.refusals
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        return await asyncio.start_unix_server(relay.serve, path, backlog=queue), address
    url = urllib.parse.urlsplit(address)
    if url.scheme != "tcp" or url.port is None:
        raise ValueError("not an address to listen at")
    server = await asyncio.start_server(relay.serve, url.hostname, url.port, backlog=queue)
    host, port = server.sockets[0].getsockname()[:2]
    return server, f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


async def run(address: str, gateway: Gateway) -> None:
    """Serve until SIGTERM or SIGINT."""
    server, bound = await listen(Relay(gateway, make_room()), address)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(Seldom())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    say("listening", address=bound)
    say("ready")
    await stop.wait()
    server.close()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--listen", required=True, help="tcp://HOST:PORT or unix:PATH")
    parser.add_argument("--gateway", required=True, help="http(s)://HOST:PORT or unix:PATH")
    arguments = parser.parse_args()
    try:
        gateway = parse_gateway(arguments.gateway)
    except ValueError as error:
        parser.error(f"{error}: {arguments.gateway!r}")
    try:
        asyncio.run(run(arguments.listen, gateway))
    except (OSError, ValueError) as error:
        print(f"error: cannot listen at {arguments.listen}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
