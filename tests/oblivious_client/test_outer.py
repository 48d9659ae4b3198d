"""Outer connections: who drips, or sends interim responses without end, is given up."""

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpcore
import httpx
import pytest
import trustme

from oblivious_client import fetching, outer
from oblivious_client.client import AsyncObliviousClient, ObliviousClient
from oblivious_client.outer import (
    MAX_INTERIM_RESPONSES,
    AsyncOuterTransport,
    OuterTransport,
    watching,
)
from oblivious_client.policy import Policy, Simulated
from oblivious_client.route import Route
from tests.support.gateway import MODEL, WORDS, StandInGateway

ALLOWED = Policy(simulated=Simulated.ALLOWED)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
BOTH = pytest.mark.parametrize("kind", ["synchronous", "asynchronous"])


@contextlib.contextmanager
def peer(script: Callable[[], Iterable[bytes]], pause: float = 0.0) -> Iterator[str]:
    """Answer every connection with what `script` says, until whoever asked hangs up."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        ended = threading.Event()

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for piece in script():
                    if ended.wait(pause):
                        return
                    connection.sendall(piece)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)


def get(kind: str, url: str, **options: str) -> httpx.Response:
    """Return the whole answer to a GET, asked as evidence is."""
    route = Route(url, **options)  # type: ignore[arg-type]
    request = httpx.Request("GET", url, extensions=fetching.fetching())
    if kind == "synchronous":
        transport = OuterTransport(route)
        with contextlib.closing(transport), watching(request):
            response = transport.handle_request(request)
            response.read()
        return response

    async def run() -> httpx.Response:
        transport = AsyncOuterTransport(route)
        with watching(request):
            response = await transport.handle_async_request(request)
            await response.aread()
            await response.aclose()
        await transport.aclose()
        return response

    return asyncio.run(run())


def drip(data: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: (data[at : at + 1] for at in range(len(data)))


SLOW = {
    "head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 50_000,
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 50_000,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9_000,
    "interim": INTERIM * 15 + b"HTTP/1.1 103 Early Hints\r\nX: " + b"x" * 50_000,
}


@BOTH
@pytest.mark.parametrize("what", SLOW)
def test_a_peer_that_drips_is_given_up(
    kind: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.5)
    with peer(drip(SLOW[what]), 0.002) as url, pytest.raises(httpx.TimeoutException):
        get(kind, url)


def ask(url: str) -> None:
    with ObliviousClient(url, policy=ALLOWED) as client:
        client.chat("hello", model=MODEL)


def ask_asynchronously(url: str) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(url, policy=ALLOWED) as client:
            await client.chat("hello", model=MODEL)

    asyncio.run(run())


@pytest.mark.parametrize("asking", [ask, ask_asynchronously])
def test_a_relay_that_drips_evidence_is_given_up(
    asking: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.5)
    with peer(drip(SLOW["body"]), 0.002) as url, pytest.raises(httpx.TimeoutException):
        asking(url)


@BOTH
def test_a_few_interim_responses_are_passed_over(kind: str) -> None:
    for script in (drip(INTERIM + OK), lambda: [INTERIM * MAX_INTERIM_RESPONSES + OK]):
        with peer(script) as url:
            assert get(kind, url).content == b"ok"


@BOTH
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_interim_responses_without_end_are_given_up(kind: str, end: bytes) -> None:
    many = INTERIM.replace(b"\r\n", end)
    for script in (lambda: itertools.repeat(many), lambda: [many * 17 + OK], drip(many * 17 + OK)):
        with peer(script) as url, pytest.raises(httpx.RemoteProtocolError, match="without end"):
            get(kind, url)


def test_a_question_is_not_kept_by_them_either() -> None:
    """Evidence comes; then the question gets interim responses for ever."""
    gateway = StandInGateway()
    gateway.close()
    body = gateway.evidence().encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
    first = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    turns: Iterator[Iterable[bytes]] = iter([[first], itertools.repeat(INTERIM)])
    with (
        peer(lambda: next(turns)) as url,
        ObliviousClient(url, policy=ALLOWED) as client,
        pytest.raises(httpx.RemoteProtocolError, match="without end"),
    ):
        client.chat("hello", model=MODEL)


@BOTH
def test_what_looks_like_a_head_within_a_body_is_none(kind: str) -> None:
    body = INTERIM * 40
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with peer(lambda: [head + body]) as url:
        assert get(kind, url).content == body


@BOTH
def test_errors_are_those_of_httpx(kind: str) -> None:
    with pytest.raises(httpx.ConnectError):
        get(kind, "http://127.0.0.1:1")
    with peer(lambda: [b"garbage\r\n\r\n"]) as url, pytest.raises(httpx.RemoteProtocolError):
        get(kind, url)
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"
    with peer(lambda: [cut]) as url, pytest.raises(httpx.RemoteProtocolError):
        get(kind, url)


@BOTH
def test_a_proxy_is_asked_for_what_is_behind_it(kind: str) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(OK)

        thread = threading.Thread(target=serve)
        thread.start()
        proxy = f"http://name:word@127.0.0.1:{listener.getsockname()[1]}"
        assert get(kind, "http://relay.example/x", proxy=proxy).content == b"ok"
        thread.join()
    head = asked[0].lower()
    assert head.startswith(b"get http://relay.example/x http/1.1\r\n")
    assert b"proxy-authorization: basic bmftztp3b3jk\r\n" in head


@BOTH
def test_a_unix_socket(kind: str, tmp_path: Path) -> None:
    path = str(tmp_path / "relay")
    with StandInGateway(uds=path):
        if kind == "synchronous":
            with ObliviousClient(gateway=f"unix:{path}", policy=ALLOWED) as client:
                assert client.chat("Hi", model=MODEL).text == "".join(WORDS)
            return

        async def run() -> str:
            async with AsyncObliviousClient(gateway=f"unix:{path}", policy=ALLOWED) as client:
                return (await client.chat("Hi", model=MODEL)).text

        assert asyncio.run(run()) == "".join(WORDS)


@BOTH
def test_tls_and_what_it_hides(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in (OK, INTERIM * 20):
                with contextlib.suppress(OSError):
                    connection = context.wrap_socket(listener.accept()[0], server_side=True)
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}/"
        assert get(kind, url).content == b"ok"
        with pytest.raises(httpx.RemoteProtocolError, match="without end"):
            get(kind, url)
        thread.join()


def test_the_hundred_and_first_request_waits_for_nobody() -> None:
    crowd = 101

    async def run() -> list[bytes]:
        arrived = 0
        all_are_there = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal arrived
            await reader.readuntil(b"\r\n\r\n")
            arrived += 1
            if arrived == crowd:
                all_are_there.set()
            await all_are_there.wait()  # nobody is answered before the last has asked
            writer.write(OK)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, backlog=crowd) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            transport = AsyncOuterTransport(Route(url))

            async def ask() -> bytes:
                response = await transport.handle_async_request(httpx.Request("GET", url))
                content = await response.aread()
                await response.aclose()
                return content

            async with asyncio.timeout(120):
                answers = await asyncio.gather(*(ask() for _ in range(crowd)))
            await transport.aclose()
            return answers

    assert asyncio.run(run()) == [b"ok"] * crowd


@BOTH
def test_a_connection_that_was_closed_meanwhile_is_not_used_again(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(OK)  # and no word of that it will close

        def answering() -> threading.Thread:
            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            return thread

        if kind == "synchronous":
            with contextlib.closing(OuterTransport(Route(url))) as transport:
                for _ in range(2):
                    thread = answering()
                    response = transport.handle_request(httpx.Request("GET", url))
                    assert response.read() == b"ok"
                    thread.join()
            return

        async def run() -> None:
            transport = AsyncOuterTransport(Route(url))
            for _ in range(2):
                thread = answering()
                response = await transport.handle_async_request(httpx.Request("GET", url))
                assert await response.aread() == b"ok"
                await asyncio.to_thread(thread.join)
            await transport.aclose()

        asyncio.run(run())


@pytest.mark.parametrize(
    ("deadline", "timeout", "within"),
    [
        (None, None, None),
        (None, 5.0, 5.0),
        (1030.0, None, 30.0),
        (1030.0, 5.0, 5.0),
        (1003.0, 5.0, 3.0),
    ],
)
def test_a_step_takes_no_longer_than_is_left_of_the_whole(
    deadline: float | None,
    timeout: float | None,
    within: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outer, "time", types.SimpleNamespace(monotonic=lambda: 1000.0))
    extensions = {} if deadline is None else {outer.DEADLINE: deadline}
    with watching(httpx.Request("GET", "http://relay.example/", extensions=extensions)):
        assert outer._within(timeout) == within
    assert outer._within(timeout) == timeout


def test_when_nothing_is_left_no_step_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outer, "time", types.SimpleNamespace(monotonic=lambda: 1000.0))
    request = httpx.Request("GET", "http://relay.example/", extensions={outer.DEADLINE: 1000.0})
    with watching(request), pytest.raises(httpcore.ReadTimeout):
        outer._within(5.0)
