"""A stand-in for an OpenAI-compatible upstream: it answers from a script and keeps what arrived.

It is no model and no HTTP server of general use: it reads requests with a Content-Length,
and says what its behaviour tells it to, well-formed or not.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

READ_SIZE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived: the exact bytes of its head and of its body."""

    head: bytes
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def fields(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return {name.lower(): value.strip() for name, _, value in (i.partition(":") for i in lines)}


@dataclass(slots=True)
class Exchange:
    """What a behaviour works with: the request, and the writing side of the connection."""

    received: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, data: bytes) -> None:
        """Write `data` and wait until the peer takes it; raises ConnectionError if it is gone."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, *lines: str) -> None:
        text = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} Scripted", *lines))
        await self.send(text.encode() + b"\r\n")

    async def whole(self, status: int, body: bytes, *lines: str) -> None:
        """Send a complete answer with its Content-Length, in one write."""
        head = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}", *lines]
        if not any(line.lower().startswith("content-type:") for line in lines):
            head.append("Content-Type: application/json")
        await self.send("\r\n".join([*head, "", ""]).encode() + body)

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked answer; an empty one ends it."""
        await self.send(b"%x\r\n" % len(data) + data + b"\r\n")

    async def wait_gone(self) -> None:
        """Wait until the peer has closed the connection."""
        while await self.reader.read(READ_SIZE):
            pass
        self.gone.set()

    def abort(self) -> None:
        self.writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


def completion(text: str, **changes: Any) -> dict[str, Any]:
    """Return a whole chat completion with everything that an upstream may add to it."""
    return {
        "id": "chatcmpl-upstream-identifier",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "name-at-the-upstream",
        "system_fingerprint": "fp_upstream",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 7,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
        "timings": {"cache_n": 3},
        **changes,
    }


def chunk_of(delta: dict[str, Any], finish: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return one object of a streamed chat completion."""
    return {
        "id": "chatcmpl-upstream-identifier",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "name-at-the-upstream",
        "system_fingerprint": "fp_upstream",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        **changes,
    }


def event(value: object) -> bytes:
    """Return one server-sent event that carries `value` as JSON."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def stream_of(tokens: Sequence[str]) -> list[bytes]:
    """Return the events of a streamed answer, from the role to [DONE]."""
    first = event(chunk_of({"role": "assistant", "content": ""}))
    words = [event(chunk_of({"content": token})) for token in tokens]
    return [first, *words, event(chunk_of({}, "stop")), DONE]


def answering(text: str = "Paris.") -> Behaviour:
    """Answer at once: whole, or as a stream of words if the request asks for one."""

    async def behave(exchange: Exchange) -> None:
        if exchange.received.json.get("stream"):
            await streaming(stream_of([f"{word} " for word in text.split()]))(exchange)
        else:
            await exchange.whole(200, json.dumps(completion(text)).encode())

    return behave


def sending(status: int, body: object, *lines: str) -> Behaviour:
    """Answer with a status and a body (bytes as they are, anything else as JSON)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def behave(exchange: Exchange) -> None:
        await exchange.whole(status, data, *lines)

    return behave


def raw(data: bytes) -> Behaviour:
    """Answer with exactly these bytes, then close."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.writer.close()

    return behave


def streaming(pieces: Sequence[bytes], *, seconds_between: float = 0) -> Behaviour:
    """Answer with an event stream, in these pieces, `seconds_between` apart."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        for piece in pieces:
            await exchange.chunk(piece)
            if seconds_between:
                await asyncio.sleep(seconds_between)
        await exchange.chunk(b"")

    return behave


def streaming_then_closing(pieces: Sequence[bytes]) -> Behaviour:
    """Send these pieces of an event stream, then close without the end of the answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        for piece in pieces:
            await exchange.chunk(piece)
        exchange.writer.close()

    return behave


def streaming_without_end(word: str = "word ") -> Behaviour:
    """Stream words for as long as the peer takes them."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        watch = asyncio.ensure_future(exchange.wait_gone())
        try:
            while not exchange.gone.is_set():
                await exchange.chunk(event(chunk_of({"content": word})))
                await asyncio.sleep(0)
        finally:
            watch.cancel()

    return behave


async def silent(exchange: Exchange) -> None:
    """Take the request and say nothing until the peer goes away."""
    await exchange.wait_gone()


async def hanging_up(exchange: Exchange) -> None:
    """Take the request and close without a word."""
    exchange.abort()


class StandInUpstream:
    """A listening stand-in: `async with StandInUpstream(behaviour) as upstream: upstream.address`.

    `requests` are in order of arrival, `connections` counts what was accepted, `gone` counts
    exchanges during which the peer went away. With `path` it listens on a Unix socket, otherwise
    on a free port of 127.0.0.1, with TLS if `tls` is given. `behaviour` can be replaced meanwhile.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        path: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behaviour = answering() if behaviour is None else behaviour
        self.requests: list[Received] = []
        self.connections = 0
        self.gone = 0
        self.port = 0
        self._path, self._tls = path, tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        if self._path is not None:
            return f"unix:{self._path}"
        return f"tcp://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(
                self._accept, self._path, ssl=self._tls, limit=READ_SIZE
            )
        else:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", 0, ssl=self._tls, limit=READ_SIZE
            )
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                received = await _receive(reader)
                if received is None:
                    break
                self.requests.append(received)
                await self._answer(Exchange(received, reader, writer))
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self.behaviour(exchange)
        except ConnectionError:
            self.gone += 1
            raise
        if exchange.gone.is_set():
            self.gone += 1
            exchange.writer.close()


async def _receive(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        size = Received(head, b"").fields.get("content-length", "0")
        return Received(head, await reader.readexactly(int(size)))
    except asyncio.IncompleteReadError:
        return None
