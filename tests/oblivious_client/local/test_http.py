"""The local HTTP server: whole and in pieces, kept and pipelined, refused, hung up on."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import SimpleNamespace

import pytest

from oblivious_client.local import http as local_http
from oblivious_client.local.http import Service, serve_connection
from oblivious_client.local.messages import Handled, LocalRequest, LocalResponse

TEXT = ((b"content-type", b"text/plain"),)
GET = b"GET /path?query HTTP/1.1\r\nHost: here\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n"

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echoed(request: LocalRequest) -> LocalResponse:
    said = f"{request.method} {request.path} ".encode() + request.body
    return LocalResponse(200, TEXT, said)


def talk(client: Client, handler: local_http.Handler | Service = echoed) -> None:
    """Have `client` talk to a server on a connection of its own, until both have ended."""

    service = handler if isinstance(handler, Service) else Service(handler)

    async def run() -> None:
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve_connection(service, reader, writer)
            finally:
                ended.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await client(reader, writer)
            writer.close()
            await ended.wait()

    asyncio.run(run())


async def send_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(1000))
        await writer.drain()
        await asyncio.sleep(0.01)


def answers_to(sent: bytes, handler: local_http.Handler | Service = echoed) -> bytes:
    """Return all that a server says to `sent`, after which nothing follows."""
    found = bytearray()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.write_eof()
        found.extend(await reader.read())

    talk(client, handler)
    return bytes(found)


def bodies(answers: bytes) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in answers.split(b"HTTP/1.1 200 ")[1:]]


def test_requests_of_one_connection_are_answered_in_order() -> None:
    found: list[bytes] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        post = b"POST /two HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nbody"
        writer.write(GET + post)  # the second comes while the first is answered
        for expected in (b"GET /path ", b"POST /two body"):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"content-length: %d\r\n" % len(expected) in head.lower()
            found.append(await reader.readexactly(len(expected)))

    talk(client)
    assert found == [b"GET /path ", b"POST /two body"]


def test_the_answer_to_head_has_a_length_and_no_content() -> None:
    answer = answers_to(b"HEAD / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert b"content-length: 7\r\n" in answer.lower()
    assert bodies(answer) == [b""]


def test_pieces_go_out_as_they_come_and_end_with_a_mark() -> None:
    said = asyncio.Event()
    told: list[Handled] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await said.wait()
        yield b"two"

    async def handler(request: LocalRequest) -> LocalResponse:
        return LocalResponse(200, TEXT, pieces())

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        assert b"transfer-encoding: chunked" in (await reader.readuntil(b"\r\n\r\n")).lower()
        assert await reader.readexactly(8) == b"3\r\none\r\n"
        said.set()
        assert await reader.readexactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"

    talk(client, Service(handler, tell=told.append))
    assert [(each.status, each.sent, each.is_whole) for each in told] == [(200, 6, True)]


def test_no_more_pieces_are_asked_for_than_the_program_takes() -> None:
    asked: list[int] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        for number in range(64):
            asked.append(number)
            yield bytes(1 << 20)
            await asyncio.sleep(0)

    async def handler(request: LocalRequest) -> LocalResponse:
        return LocalResponse(200, TEXT, pieces())

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(200):  # turns of the loop, of which each could bring another piece
            await asyncio.sleep(0.001)
        assert len(asked) < 32  # what the kernel keeps of a connection is a few MiB
        piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        for _ in range(64):
            assert await reader.readexactly(len(piece)) == piece

    talk(client, handler)
    assert len(asked) == 64


def test_pieces_that_break_off_have_no_end() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise ConnectionResetError

    async def handler(request: LocalRequest) -> LocalResponse:
        return LocalResponse(200, TEXT, pieces())

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)  # and the side that asks stays
        assert (await reader.read()).endswith(b"3\r\none\r\n")

    told: list[Handled] = []
    talk(client, Service(handler, tell=told.append))
    assert [(each.status, each.sent, each.is_whole) for each in told] == [(200, 3, False)]


def test_a_program_has_time_to_read_why_its_stream_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, pauses = asyncio.Event(), []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await read.wait()

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"why"
        raise ConnectionAbortedError

    async def handler(request: LocalRequest) -> LocalResponse:
        return LocalResponse(200, TEXT, pieces())

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await reader.readuntil(b"3\r\nwhy\r\n")
        assert not reader.at_eof()
        read.set()
        assert await reader.read() == b""

    monkeypatch.setattr(asyncio, "sleep", pause)
    talk(client, handler)
    assert pauses == [local_http.FAREWELL_SECONDS]


@pytest.mark.parametrize("begun", [False, True])
def test_a_program_that_goes_away_cancels_its_handler(begun: bool) -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await wait()

    async def handler(request: LocalRequest) -> LocalResponse:
        if not begun:
            await wait()
        return LocalResponse(200, TEXT, pieces())

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await running.wait()
        writer.close()
        await cancelled.wait()

    talk(client, handler)


def test_a_request_that_comes_early_is_answered_later() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handler(request: LocalRequest) -> LocalResponse:
        entered.set()
        await release.wait()
        return await echoed(request)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await entered.wait()
        writer.write(GET)
        await writer.drain()
        release.set()
        for _ in range(2):
            await reader.readuntil(b"GET /path ")

    talk(client, handler)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # without a Host
        (b"GET / HTTP/1.1\r\nHost: here\r\nX: " + b"a" * local_http.HEAD_LIMIT, 431),
    ],
)
def test_what_cannot_be_read_is_refused(sent: bytes, status: int) -> None:
    assert answers_to(sent).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(("length", "status"), [(100, 200), (101, 413)])
def test_a_body_has_a_limit(length: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "BODY_LIMIT", 100)
    head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % length
    assert answers_to(head + bytes(length)).startswith(b"HTTP/1.1 %d " % status)


def test_limits_are_as_the_gateway_has_them() -> None:
    assert (local_http.HEAD_LIMIT, local_http.BODY_LIMIT) == (16384, 20 << 20)


@pytest.mark.parametrize(
    ("field", "begun"),
    [
        (b"Content-Length: 10", b""),
        (b"Content-Length: 10", b"half"),
        (b"Transfer-Encoding: chunked", b""),
        (b"Transfer-Encoding: chunked", b"a\r\nhalf"),
        (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n"),
        (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n0\r\n"),
    ],
)
def test_a_body_that_breaks_off_is_not_answered(field: bytes, begun: bytes) -> None:
    answer = answers_to(b"POST / HTTP/1.1\r\nHost: here\r\n" + field + b"\r\n\r\n" + begun)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_who_waits_for_a_continue_gets_it_once() -> None:
    head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        writer.write(b"body")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(11) == b"POST / body"

    talk(client)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET + b"GET / HT"])
def test_a_silent_program_is_hung_up_on(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "IDLE_SECONDS", 0.05)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await reader.read()  # it ends, though nothing ended on this side

    talk(client)


def test_another_protocol_ends_the_connection() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    assert bodies(answers_to(upgrade + GET)) == [b"GET / "]


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n", b"GET / HTTP/1.0\r\n"]
)
def test_who_says_that_it_is_the_last_is_hung_up_on(head: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"\r\n")
        async with asyncio.timeout(20):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent", [GET, b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n"]
)
def test_what_is_not_admitted_is_answered_before_its_body(sent: bytes) -> None:
    handled: list[LocalRequest] = []

    async def handler(request: LocalRequest) -> LocalResponse:
        handled.append(request)
        return await echoed(request)

    def admit(head: LocalRequest) -> LocalResponse | None:
        return LocalResponse(403, TEXT, head.path.encode()) if head.method == "POST" else None

    service = Service(handler, admit)
    answer = answers_to(sent, service)
    assert (b"HTTP/1.1 403" in answer) is sent.startswith(b"POST") is not bool(handled)
    assert (b"connection: close" in answer) is sent.startswith(b"POST")


def test_a_connection_goes_on_after_a_refusal_without_a_body() -> None:
    def admit(head: LocalRequest) -> LocalResponse | None:
        return LocalResponse(404, TEXT, b"none") if head.path == "/none" else None

    answer = answers_to(GET.replace(b"/path", b"/none") + GET, Service(echoed, admit))
    assert answer.count(b"HTTP/1.1 404") == answer.count(b"HTTP/1.1 200") == 1


def test_who_still_sends_reads_why_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "BODY_LIMIT", 100)
    monkeypatch.setattr(local_http, "LINGER_SECONDS", 3600)  # its end is told before that
    head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 8000000\r\n\r\n"

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + bytes(8_000_000))
        await writer.drain()  # which a reset would end
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")

    talk(client)


@pytest.mark.parametrize("limit", ["LINGER_SECONDS", "LINGER_OCTETS"])
def test_nobody_is_listened_to_for_ever(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "BODY_LIMIT", 100)
    for name, least in (("LINGER_SECONDS", 0.05), ("LINGER_OCTETS", 1000)):
        monkeypatch.setattr(local_http, name, least if name == limit else 1 << 30)
    head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 8000000\r\n\r\n"

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + bytes(2000))
        await reader.read()
        with pytest.raises(ConnectionError):
            await send_for_ever(writer)

    talk(client)


def test_whatever_happens_to_a_request_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_http, "BODY_LIMIT", 100)
    told: list[Handled] = []
    service = Service(echoed, tell=told.append)
    post = b"POST /two HTTP/1.1\r\nHost: here\r\nContent-Length: "
    answers_to(GET + post + b"4\r\n\r\nbody", service)
    answers_to(b"nonsense\r\n\r\n", service)
    answers_to(post + b"101\r\n\r\n", service)
    assert [(each.method, each.path, each.status) for each in told] == [
        ("GET", "/path", 200),
        ("POST", "/two", 200),
        ("", "", 400),
        ("POST", "/two", 413),
    ]
    assert [(each.received, each.sent) for each in told] == [(0, 10), (4, 14), (0, 0), (0, 0)]
    assert all(each.is_whole for each in told)


def test_a_request_is_timed_from_the_end_of_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    told: list[Handled] = []

    async def handler(request: LocalRequest) -> LocalResponse:
        now[0] += 2.5
        return await echoed(request)

    def admit(head: LocalRequest) -> None:
        now[0] += 1

    monkeypatch.setattr(local_http, "time", SimpleNamespace(monotonic=lambda: now[0]))
    answers_to(2 * GET, Service(handler, admit, tell=told.append))
    assert [each.seconds for each in told] == [3.5, 3.5]


def test_who_goes_away_unanswered_is_told_of_as_that() -> None:
    entered = asyncio.Event()
    told: list[Handled] = []

    async def handler(request: LocalRequest) -> LocalResponse:
        entered.set()
        await asyncio.Event().wait()
        return await echoed(request)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await entered.wait()

    talk(client, Service(handler, tell=told.append))
    assert [(each.status, each.sent, each.is_whole) for each in told] == [(0, 0, False)]


def test_a_fault_of_the_handler_is_not_hidden() -> None:
    async def handler(request: LocalRequest) -> LocalResponse:
        raise LookupError(request.path)

    async def run() -> bytes:
        ended: list[BaseException | None] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve_connection(Service(handler), reader, writer)
            except LookupError as fault:
                ended.append(fault)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(GET)
            said = await reader.read()
            writer.close()
        assert [str(fault) for fault in ended] == ["/path"]
        return said

    assert asyncio.run(run()) == b""
