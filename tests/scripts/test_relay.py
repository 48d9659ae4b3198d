"""The reference relay, beyond what the relay check asks of any relay."""

import asyncio
import errno
import json
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from scripts import relay
from scripts.relay_kit.bench import receive
from scripts.relay_kit.calls import Http1Call
from scripts.relay_kit.checks.answering import PROBLEM
from scripts.relay_kit.http1 import Stream
from scripts.relay_kit.recording import Exchange, Gateway

DEADLINE_SECONDS = 120
RELAY = Path(relay.__file__)


KIND = b"Content-Type: message/ohttp-req\r\n"


class Trial:
    """The relay between a recording gateway and clients, in this process."""

    def __init__(self, folder: Path) -> None:
        self.gateway = Gateway()
        self.folder = folder
        self.relay = relay.Relay(relay.parse_gateway(f"unix:{folder / 'gateway'}"))

    async def talk(self, *pieces: bytes) -> list[tuple[int, bytes]]:
        """Send bytes on one connection; return all answers until the relay closes or is idle."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "relay")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        call = Http1Call(Stream(reader, writer), chunked=False)
        answers = []
        for _ in range(sum(piece.count(b" HTTP/1.1\r\n") for piece in pieces)):
            answer = await receive(call)
            answers.append((answer.status, answer.body))
        writer.close()
        return answers

    async def keys(self, extra: bytes = b"") -> tuple[bytes, dict[str, str]]:
        """Fetch the keys; return body and fields."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "relay")
        writer.write(b"GET /.well-known/ohttp-gateway HTTP/1.1\r\nHost: r\r\n" + extra + b"\r\n")
        answer = await receive(Http1Call(Stream(reader, writer), chunked=False))
        writer.close()
        return answer.body, dict(answer.head.fields)


@asynccontextmanager
async def between(folder: Path) -> AsyncIterator[Trial]:
    """Start the relay and its gateway."""
    path = Trial(folder)
    servers = [
        await asyncio.start_unix_server(path.gateway.serve, folder / "gateway"),
        await asyncio.start_unix_server(path.relay.serve, folder / "relay"),
    ]
    async with asyncio.timeout(DEADLINE_SECONDS):
        yield path
    for server in servers:
        server.close()


def run(folder: Path, test: Callable[[Trial], Awaitable[None]]) -> None:
    """Run `test` with a relay."""

    async def body() -> None:
        async with between(folder) as path:
            await test(path)

    asyncio.run(body())


def post(body: bytes, extra: bytes = b"", length: int | None = None) -> bytes:
    """Return the bytes of a sealed request."""
    size = b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return b"POST / HTTP/1.1\r\nHost: r\r\n" + KIND + extra + size + b"\r\n" + body


def test_requests_in_a_row_are_answered_in_order(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        answers = await path.talk(post(b"one") + post(b"two") + post(b"three"))
        assert answers == [(200, b"one"), (200, b"two"), (200, b"three")]

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(b"x", b"Transfer-Encoding: chunked\r\n"), 400),
        (post(b"", length=relay.BODY_BYTES + 1), 413),
        (post(b"", length=10**12), 413),
        (b"POST /v1/ohttp HTTP/1.1\r\nHost: r\r\nContent-Length: 1\r\n\r\nx", 415),
        (b"POST /v1/other HTTP/1.1\r\nHost: r\r\nContent-Length: 1\r\n\r\nx", 404),
        (b"HEAD /v1/ohttp HTTP/1.1\r\nHost: r\r\n\r\n", 405),
        (b"POST /v1/attestation HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: r\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n HTTP/1.1\r\n", 400),
    ],
)
def test_wrong_requests_are_refused_here(tmp_path: Path, request_bytes: bytes, status: int) -> None:
    async def test(path: Trial) -> None:
        assert await path.talk(request_bytes) == [(status, b"")]
        assert path.gateway.arrivals == []

    run(tmp_path, test)


def test_a_body_that_grows_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BODY_BYTES", 1000)

    async def test(path: Trial) -> None:
        head = b"POST / HTTP/1.1\r\nHost: r\r\n" + KIND + b"Transfer-Encoding: chunked\r\n\r\n"
        piece = b"190\r\n" + b"x" * 400 + b"\r\n"
        assert await path.talk(head, piece, piece, piece, b"0\r\n\r\n") == [(413, b"")]

    run(tmp_path, test)


def test_a_client_that_waits_for_a_go_ahead_gets_one(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "relay")
        writer.write(post(b"", b"Expect: 100-continue\r\n", length=3))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"one")
        answer = await receive(Http1Call(Stream(reader, writer), chunked=False))
        assert (answer.status, answer.body) == (200, b"one")
        names = [name.lower() for name, _ in path.gateway.arrivals[0].request.fields]
        assert "expect" not in names
        writer.close()

    run(tmp_path, test)


def test_an_answer_that_comes_before_the_upload_ends_reaches_the_client(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        async def early(exchange: Exchange) -> None:
            await exchange.answer(413, b"too large", ("Content-Type", "application/problem+json"))
            raise EOFError

        path.gateway.script = early
        body = b"x" * 5_000_000
        assert await path.talk(post(body)) == [(413, b"too large")]

    run(tmp_path, test)


def test_a_gateway_that_is_absent_is_a_502_until_it_is_there(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        (tmp_path / "gateway").rename(tmp_path / "elsewhere")
        assert await path.talk(post(b"one")) == [(502, b"")]
        (tmp_path / "elsewhere").rename(tmp_path / "gateway")
        assert await path.talk(post(b"one")) == [(200, b"one")]

    run(tmp_path, test)


def test_a_gateway_whose_queue_is_full_is_waited_for(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        (tmp_path / "gateway").unlink()
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as filler:
            listener.bind(str(tmp_path / "gateway"))
            listener.listen(0)
            filler.connect(listener.getsockname())
            asked = asyncio.ensure_future(path.talk(post(b"one")))
            await asyncio.sleep(0.1)
            assert not asked.done()
            server = await asyncio.start_unix_server(path.gateway.serve, sock=listener)
            assert await asked == [(200, b"one")]
            server.close()

    run(tmp_path, test)


def test_a_gateway_that_talks_nonsense_is_a_502(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        async def nonsense(exchange: Exchange) -> None:
            await exchange.read()
            await exchange.send(b"nonsense\r\n\r\n")

        path.gateway.script = nonsense
        assert await path.talk(post(b"one")) == [(502, b"")]
        assert (await path.keys())[0] == b""

    run(tmp_path, test)


def test_a_gateway_that_says_nothing_is_a_504(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "ANSWER_SECONDS", 0.2)

    async def test(path: Trial) -> None:
        async def silent(exchange: Exchange) -> None:
            await exchange.gone()

        path.gateway.script = silent
        assert await path.talk(post(b"one")) == [(504, b"")]

    run(tmp_path, test)


def test_too_many_connections_get_a_503(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        path.relay.room = relay.Room(connections=1)
        _, first = await asyncio.open_unix_connection(tmp_path / "relay")
        first.write(post(b"", length=3))
        while not path.gateway.arrivals:
            await asyncio.sleep(0.01)
        assert await path.talk(post(b"two")) == [(503, b"")]
        first.write(b"one")
        first.close()

    run(tmp_path, test)


def numbered(path: Trial, control: str) -> None:
    """Have the gateway give another body at each fetch, and refuse sealed requests with 422."""

    async def script(exchange: Exchange) -> None:
        await exchange.read()
        if exchange.request.start[0] == "POST":
            await exchange.answer(422, PROBLEM)
        else:
            body = b"copy %d" % len(path.gateway.arrivals)
            await exchange.answer(200, body, ("Cache-Control", control))

    path.gateway.script = script


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The relay's clock, which stands at `now` until it is moved."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(relay, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.usefixtures("clock")
def test_head_tells_of_the_copy_without_giving_it(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        numbered(path, "max-age=60")
        assert (await path.keys())[0] == b"copy 1"
        head = b"HEAD /.well-known/ohttp-gateway HTTP/1.1\r\nHost: r\r\n\r\n"
        reader, writer = await asyncio.open_unix_connection(tmp_path / "relay")
        writer.write(head + post(b"next"))  # an answer to HEAD ends with its head
        first = await Stream(reader, writer).head()
        assert (first.status, first.get("content-length")) == (200, str(len(b"copy 1")))
        assert (await Stream(reader, writer).head()).status == 422
        writer.close()

    run(tmp_path, test)


@pytest.mark.usefixtures("clock")
def test_many_clients_at_once_share_one_fetch(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        numbered(path, "max-age=60")
        copies = await asyncio.gather(*(path.keys() for _ in range(20)))
        assert {body for body, _ in copies} == {b"copy 1"}
        assert copies[0][1]["age"] == "0"
        assert copies[0][1]["cache-control"] == "max-age=60"

    run(tmp_path, test)


def test_what_may_not_be_kept_is_not(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        numbered(path, "no-store, max-age=60")
        assert [(await path.keys())[0] for _ in range(2)] == [b"copy 1", b"copy 2"]

    run(tmp_path, test)


def test_a_client_may_have_the_copy_renewed_but_not_often(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    async def test(path: Trial) -> None:
        numbered(path, "max-age=60")
        renew = b"Cache-Control: no-cache\r\n"
        assert (await path.keys())[0] == b"copy 1"
        assert (await path.keys(renew))[0] == b"copy 2"
        assert (await path.keys(renew))[0] == b"copy 2"
        clock.now += relay.RENEW_SECONDS
        assert (await path.keys(renew))[0] == b"copy 3"
        assert (await path.keys())[0] == b"copy 3"

    run(tmp_path, test)


@pytest.mark.usefixtures("clock")
def test_a_refused_key_makes_the_copies_old(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        numbered(path, "max-age=60")
        assert (await path.keys())[0] == b"copy 1"
        assert await path.talk(post(b"sealed to an old key")) == [(422, PROBLEM)]
        assert (await path.keys())[0] == b"copy 3"  # the second arrival was the request
        assert await path.talk(post(b"again")) == [(422, PROBLEM)]
        assert (await path.keys())[0] == b"copy 3"  # too soon

    run(tmp_path, test)


def test_an_oversized_copy_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "KEPT_BYTES", 5)

    async def test(path: Trial) -> None:
        numbered(path, "max-age=60")
        assert (await path.keys())[0] == b""

    run(tmp_path, test)


def test_a_gateway_is_reached_over_tls(tmp_path: Path) -> None:
    async def test() -> None:
        authority = trustme.CA()
        server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(server_tls)
        gateway = Gateway()
        listener = await asyncio.start_server(gateway.serve, "127.0.0.1", 0, ssl=server_tls)
        port = listener.sockets[0].getsockname()[1]
        found = relay.parse_gateway(f"https://localhost:{port}")
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        for tls, status in ((found.tls, 502), (trusting, 200)):
            path = Trial(tmp_path)
            path.relay = relay.Relay(relay.Gateway(found.address, found.name, tls))
            (tmp_path / "relay").unlink(missing_ok=True)
            server = await asyncio.start_unix_server(path.relay.serve, tmp_path / "relay")
            assert (await path.talk(post(b"one")))[0][0] == status
            server.close()
        listener.close()
        assert gateway.arrivals[0].request.get("host") == f"localhost:{port}"

    asyncio.run(asyncio.wait_for(test(), DEADLINE_SECONDS))


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        (b"max-age=60", 60),
        (b"public, MAX-AGE=7", 7),
        (b"no-store, max-age=60", 0),
        (b"s-maxage=60", 0),
        (b"max-age=-1", 0),
        (b"max-age=9999999999", 0),
        (b"", 0),
    ],
)
def test_how_long_a_copy_may_be_kept(control: bytes, seconds: int) -> None:
    assert relay.max_age([(b"cache-control", control)]) == seconds


def test_addresses_of_gateways() -> None:
    assert relay.parse_gateway("http://[::1]:8080").address == ("::1", 8080)
    assert relay.parse_gateway("http://g.example").address == ("g.example", 80)
    assert relay.parse_gateway("https://g.example/").address == ("g.example", 443)
    assert relay.parse_gateway("unix:/run/gateway").address == "/run/gateway"
    for wrong in ("g.example", "ftp://g.example", "http://", "http://g.example/v1/ohttp"):
        with pytest.raises(ValueError, match="not a gateway"):
            relay.parse_gateway(wrong)


@pytest.mark.parametrize("hard", [64, 100, 1024, relay.Room().descriptors - 1])
def test_room_is_made_for_which_there_are_descriptors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hard: int
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (60, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    room = relay.make_room()
    assert calls == [(hard, hard)]
    assert room.descriptors <= hard
    assert 1 <= room.connections < relay.CONNECTIONS
    assert 1 <= room.refusals <= relay.REFUSALS
    assert json.loads(capsys.readouterr().err) == {
        "event": "few_descriptors",
        "have": hard,
        "wanted": relay.Room().descriptors,
        "connections": room.connections,
    }


@pytest.mark.parametrize("limits", [(1024, 4096), (1024, -1), (-1, -1), (4096, 4096)])
def test_where_there_are_enough_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limits: tuple[int, int]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert relay.make_room() == relay.Room()
    assert capsys.readouterr().err == ""


def test_more_than_those_that_it_refuses_find_nobody(tmp_path: Path) -> None:
    async def test(path: Trial) -> None:
        path.relay.room = relay.Room(connections=1, refusals=1)
        peers = [await asyncio.open_unix_connection(tmp_path / "relay") for _ in range(3)]
        assert await peers[2][0].read() == b""
        assert path.relay.connections == 2
        for _, writer in peers:
            writer.close()

    run(tmp_path, test)


def test_without_descriptors_its_log_stays_short(tmp_path: Path) -> None:
    command = ["prlimit", "--nofile=40:40", sys.executable, str(RELAY)]
    command += ["--listen", f"unix:{tmp_path / 'relay'}", "--gateway", f"unix:{tmp_path / 'g'}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [json.loads(process.stderr.readline()) for _ in range(3)]
        assert [line["event"] for line in said] == ["few_descriptors", "listening", "ready"]
        with ExitStack() as stack:
            for _ in range(100):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.connect(str(tmp_path / "relay"))
            sock.settimeout(DEADLINE_SECONDS)
            with suppress(ConnectionResetError):
                assert sock.recv(1) == b""  # all have been accepted, and this one sent away
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("code", relay.SCARCE)
def test_want_of_descriptors_is_told_once_a_second(
    capsys: pytest.CaptureFixture[str], code: int
) -> None:
    async def test() -> None:
        loop, seldom = asyncio.get_running_loop(), relay.Seldom()
        for _ in range(100):
            seldom(loop, {"exception": OSError(code, "none left")})
        seldom.told -= 1
        seldom(loop, {"exception": OSError(code, "none left")})

    asyncio.run(test())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines == 2 * [{"event": "accept_failed", "code": errno.errorcode[code]}]


def test_other_failures_are_told_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        relay.Seldom()(asyncio.get_running_loop(), {"message": "something", "exception": None})

    asyncio.run(test())
    assert "something" in caplog.text
