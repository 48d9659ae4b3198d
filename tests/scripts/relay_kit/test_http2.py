"""HTTP/2 at the client's end of a check, against a server that h2 makes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from scripts.relay_kit.bench import Answer, receive
from scripts.relay_kit.calls import Call, Request, Target
from scripts.relay_kit.http2 import call_http2

SEALED = Request("POST", "/", [("Host", "x"), ("Transfer-Encoding", "chunked"), ("A", "b")])
Reaction = Callable[[H2Connection, Event], None]


class Server:
    """Takes one connection; keeps what comes, and reacts as a test wants."""

    def __init__(self, react: Reaction) -> None:
        self.react = react
        self.events: list[Event] = []
        self.done = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve until the client goes."""
        state = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        state.initiate_connection()
        writer.write(state.data_to_send())
        with suppress(ProtocolError):  # what comes after an end
            while data := await reader.read(65536):
                for event in state.receive_data(data):
                    self.take(state, event)
                writer.write(state.data_to_send())
        writer.transport.abort()
        self.done.set()

    def take(self, state: H2Connection, event: Event) -> None:
        """Keep what has come, make room for more, and react."""
        self.events.append(event)
        if isinstance(event, DataReceived):
            state.acknowledge_received_data(event.flow_controlled_length, 1)
        self.react(state, event)


def run(folder: Path, react: Reaction, test: Callable[[Call, Server], Awaitable[None]]) -> None:
    """Run `test` with a call to a server that reacts so."""

    async def body() -> None:
        served = Server(react)
        server = await asyncio.start_unix_server(served.serve, folder / "relay")
        target = Target(str(folder / "relay"), "relay.example.com", "/", None)
        async with asyncio.timeout(60):
            call = await call_http2(target, SEALED)
            await test(call, served)
            call.close()
            await served.done.wait()
        server.close()

    asyncio.run(body())


def answering(state: H2Connection, event: Event) -> None:
    """Answer what has ended."""
    if isinstance(event, StreamEnded):
        state.send_headers(1, [(":status", "200"), ("content-type", "message/ohttp-res")])
        state.send_data(1, b"answer", end_stream=True)


def test_a_request_and_its_answer(tmp_path: Path) -> None:
    async def test(call: Call, server: Server) -> None:
        piece = bytes(100_000)  # more than the window that a connection begins with
        await call.send(piece)
        await call.end([("X-Canary", "canary")])
        answer = await receive(call)
        assert (answer.status, answer.body, answer.whole) == (200, b"answer", True)
        assert answer.head.fields == [("content-type", "message/ohttp-res")]
        (request,) = [event for event in server.events if isinstance(event, RequestReceived)]
        assert dict[object, object](request.headers) == {
            ":method": "POST",
            ":scheme": "http",
            ":authority": "relay.example.com",
            ":path": "/",
            "a": "b",
        }
        arrived = [event.data for event in server.events if isinstance(event, DataReceived)]
        assert b"".join(arrived) == piece

    run(tmp_path, answering, test)


def test_an_answer_that_is_broken_off_is_not_whole(tmp_path: Path) -> None:
    def breaking(state: H2Connection, event: Event) -> None:
        if isinstance(event, StreamEnded):
            state.send_headers(1, [(":status", "200")])
            state.send_data(1, b"half")
            state.reset_stream(1)

    async def test(call: Call, server: Server) -> None:
        await call.end()
        answer: Answer = await receive(call)
        assert (answer.body, answer.whole) == (b"half", False)

    run(tmp_path, breaking, test)


def refusing(state: H2Connection, event: Event) -> None:
    """Refuse a request when its head has come."""
    if isinstance(event, RequestReceived):
        state.reset_stream(1)


def dropping(state: H2Connection, event: Event) -> None:
    """End the connection when a head has come."""
    if isinstance(event, RequestReceived):
        state.close_connection()


@pytest.mark.parametrize("react", [refusing, dropping])
def test_a_request_that_is_refused_is_told_at_both_ends(tmp_path: Path, react: Reaction) -> None:
    async def test(call: Call, server: Server) -> None:
        with pytest.raises(BrokenPipeError):  # there is room for less than this
            await call.send(bytes(1_000_000))
        with pytest.raises(BrokenPipeError):
            await call.end()
        with pytest.raises(EOFError):
            await call.head()

    run(tmp_path, react, test)


def test_a_client_that_goes_ends_its_stream_and_not_the_connection(tmp_path: Path) -> None:
    async def test(call: Call, server: Server) -> None:
        await call.cancel()
        while not any(isinstance(event, StreamReset) for event in server.events):
            await asyncio.sleep(0.01)

    run(tmp_path, answering, test)


def test_a_server_that_speaks_something_else_breaks_off(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        done.set()

    done = asyncio.Event()

    async def test() -> None:
        server = await asyncio.start_unix_server(serve, tmp_path / "relay")
        call = await call_http2(Target(str(tmp_path / "relay"), "r", "/", None), SEALED)
        with pytest.raises(EOFError):
            await call.head()
        call.close()
        await done.wait()
        server.close()

    asyncio.run(asyncio.wait_for(test(), 60))
