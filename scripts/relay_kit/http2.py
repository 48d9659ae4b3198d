"""HTTP/2 as a browser speaks it to a relay (RFC 9113), over the sans-io package h2."""

import asyncio
import enum
from collections.abc import AsyncIterator
from contextlib import suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

from scripts.relay_kit.calls import Call, Request, Target
from scripts.relay_kit.http1 import READ_BYTES, Fields, Head, Stream

STREAM = 1  # each request has a connection of its own
ALPN = "h2"
OLDER = b"HTTP/1."

# RFC 9113, Section 8.2.2: an endpoint MUST NOT generate connection-specific fields.
NOT_SENT = {"connection", "transfer-encoding", "host"}


class End(enum.Enum):
    """How an answer ends."""

    WHOLE = enum.auto()
    BROKEN = enum.auto()


class Http2Call:
    """A request in HTTP/2."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._state = H2Connection(H2Configuration(header_encoding="latin-1"))
        self._arrived: asyncio.Queue[Head | DataReceived | End] = asyncio.Queue()
        self._may_send = asyncio.Event()
        self._broken = False
        self._listening: asyncio.Task[None] | None = None

    @property
    def address(self) -> object:
        """This end of the connection."""
        return self._stream.writer.get_extra_info("sockname")

    async def begin(self, target: Target, request: Request) -> None:
        """Send the head of a request, which is all of it unless it has a framing."""
        pseudo = [
            (":method", request.method),
            (":scheme", "https" if target.tls else "http"),
            (":authority", target.name),
            (":path", request.path),
        ]
        fields = [(n.lower(), v) for n, v in request.fields if n.lower() not in NOT_SENT]
        framed = request.has("transfer-encoding") or request.has("content-length")
        self._state.initiate_connection()
        self._state.send_headers(STREAM, pseudo + fields, end_stream=not framed)
        await self._flush()
        self._listening = asyncio.create_task(self._listen())

    async def send(self, data: bytes, extension: bytes = b"") -> None:
        """Send a piece of the body, as the peer gives room for it."""
        while data:
            room = await self._room()
            self._state.send_data(STREAM, data[:room])
            data = data[room:]
            await self._flush()

    async def end(self, trailers: Fields = ()) -> None:
        """End the body."""
        if self._broken:
            raise BrokenPipeError
        if trailers:
            lower = [(name.lower(), value) for name, value in trailers]
            self._state.send_headers(STREAM, lower, end_stream=True)
        else:
            self._state.end_stream(STREAM)
        await self._flush()

    async def head(self) -> Head:
        """Return the head of the answer, informational ones left out."""
        arrival = await self._arrived.get()
        if not isinstance(arrival, Head):
            raise EOFError
        return arrival

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the answer's body; raise EOFError if its end is missing."""
        while isinstance(arrival := await self._arrived.get(), DataReceived):
            yield arrival.data
            if not self._broken and arrival.flow_controlled_length:
                self._state.acknowledge_received_data(arrival.flow_controlled_length, STREAM)
                await self._flush()
        if arrival is not End.WHOLE:
            raise EOFError

    async def cancel(self) -> None:
        """Give the request up as browsers do: the stream ends, the connection stays."""
        self._state.reset_stream(STREAM, ErrorCodes.CANCEL)
        await self._flush()

    def close(self) -> None:
        """Drop the connection."""
        if self._listening is not None:
            self._listening.cancel()
        self._stream.writer.transport.abort()

    async def _room(self) -> int:
        """Return how much may be sent at once, when it is more than nothing."""
        while True:
            if self._broken:
                raise BrokenPipeError
            window = self._state.local_flow_control_window(STREAM)
            if room := min(window, self._state.max_outbound_frame_size):
                return room
            self._may_send.clear()
            await self._may_send.wait()

    async def _flush(self) -> None:
        await self._stream.send(self._state.data_to_send())

    async def _listen(self) -> None:
        """Take all that comes, until the peer ends it or breaks the rules."""
        reader = self._stream.reader
        with suppress(OSError, ProtocolError):
            data = await reader.read(READ_BYTES)
            # To h2 the words of an older version are a frame of megabytes, which never ends.
            while data and not data.startswith(OLDER):
                for event in self._state.receive_data(data):
                    self._take(event)
                self._may_send.set()
                await self._flush()
                data = await reader.read(READ_BYTES)
        self._break_off()

    def _break_off(self) -> None:
        self._broken = True
        self._arrived.put_nowait(End.BROKEN)
        self._may_send.set()

    def _take(self, event: Event) -> None:
        """Keep what belongs to the answer; the rest says nothing about it."""
        match event:
            case ResponseReceived():
                self._arrived.put_nowait(read_head(event))
            case DataReceived():
                self._arrived.put_nowait(event)
            case StreamEnded():
                self._arrived.put_nowait(End.WHOLE)
            case StreamReset() | ConnectionTerminated():
                self._break_off()


def read_head(event: ResponseReceived) -> Head:
    """Return the head of an answer as HTTP/1.1 would give it."""
    fields = [(str(name), str(value)) for name, value in event.headers]
    ordinary = [(name, value) for name, value in fields if not name.startswith(":")]
    return Head(b"", ["HTTP/2", dict(fields)[":status"], ""], ordinary)


async def call_http2(target: Target, request: Request) -> Call:
    """Open a connection and send the head of a request."""
    stream = await target.connect()
    tls = stream.writer.get_extra_info("ssl_object")
    if tls is not None and tls.selected_alpn_protocol() != ALPN:
        stream.writer.transport.abort()
        raise ConnectionError("it does not offer HTTP/2")
    call = Http2Call(stream)
    await call.begin(target, request)
    return call
