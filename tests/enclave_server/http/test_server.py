"""The server: what it counts and logs, and its end."""

import asyncio
import io
import socket
from dataclasses import replace
from typing import Any

import pytest

from enclave_server.http import server as http_server
from enclave_server.http.limits import Limits
from enclave_server.http.messages import OuterRequest, OuterResponse
from enclave_server.http.server import Server
from enclave_server.log import Log
from tests.support.outer_http import FAMILIES, QUICK, Fountain, Gate, ended, get, post
from tests.support.sockets import Recorder, run, serving


@FAMILIES
def test_drain_finishes_what_is_running(family: str) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, family=family) as server:
            idle, busy, uploading = [await server.connect() for _ in range(3)]
            await busy.send(get("/busy"))
            await uploading.send(post(5, "/uploading") + b"he")
            await server.until(lambda: gate.running == 1)
            await server.until(lambda: server.server.counters.connections == 3)
            draining = asyncio.create_task(server.server.drain(10))
            assert await idle.read_to_end() == b""
            with pytest.raises(ConnectionRefusedError):
                await server.connect()
            await uploading.send(b"llo")
            await server.until(lambda: gate.running == 2)
            gate.open.set()
            for peer, path in ((busy, b"/busy"), (uploading, b"/uploading")):
                answer = await peer.answer()
                assert (answer.body, answer.headers["connection"]) == (path, "close")
                peer.close()
            await draining
            assert gate.cancelled == 0

    run(main)


def test_drain_ends_what_does_not_end() -> None:
    async def main() -> None:
        gate, fountain = Gate(), Fountain(1_000_000, 4096)

        async def handler(request: OuterRequest) -> OuterResponse:
            return await (gate if request.path == b"/gate" else fountain)(request)

        async with serving(handler) as server:
            waiting, stalled = await server.connect(), await server.connect()
            await waiting.send(get("/gate"))
            await stalled.send(get("/fountain"))
            await server.until(lambda: gate.running == 1 and fountain.given > 5)
            await server.server.drain(0.1)
            assert (gate.cancelled, fountain.closed) == (1, 1)
            assert server.server.counters.connections == 0
            assert await ended(waiting)

    run(main)


def test_drain_reports_counts() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:
            peer = await server.connect()
            await peer.send(post(5, "/private?query") + b"hello")
            await peer.answer()
            await peer.send(b"GET /malformed HTTP/9\r\n\r\n")
            await peer.answer()
            peer.close()
            await server.server.drain(1)
            figures = {(line["route"], line["status"]): line for line in server.events()}
            assert set(figures) == {("recorded", 200), ("refused", 400)}
            assert figures["recorded", 200]["received_bytes"] == 5
            for content in ("private", "query", "malformed", "hello"):
                assert content not in server.log.getvalue()
            sweeper = server.server._sweeper
            assert sweeper is not None
            assert sweeper.cancelled()  # so that nothing is reported after the last report

    run(main)


def test_a_failure_of_the_loop_is_logged_without_its_text() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:

            def fail() -> None:
                raise ValueError("secret")

            asyncio.get_running_loop().call_soon(fail)
            await server.until(lambda: bool(server.events()))
            assert server.events()[0]["kind"] == "ValueError"
            assert "secret" not in server.log.getvalue()

    run(main)


def test_a_server_that_never_began_ends() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            log = io.StringIO()
            await Server(listener, lambda _: OuterResponse(200), Limits(), Log(log)).drain(1)
            assert log.getvalue() == ""

    run(main)


def test_requests_are_reported_while_the_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REPORT_SECONDS", 0.0)

    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(get())
            await peer.answer()
            await server.until(lambda: bool(server.events()))
            assert [line["count"] for line in server.events()] == [1]

    run(main)


def test_a_server_reports_once_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        """A loop whose time is the test's."""

        now = 0.0

        def time(self) -> float:
            return self.now

        def call_later(self, seconds: float, *_: object) -> asyncio.TimerHandle:
            assert seconds == 1.0
            return asyncio.get_running_loop().call_later(1e6, lambda: None)

    async def main() -> None:
        before = asyncio.get_running_loop().time()
        async with serving(Recorder()) as server:
            after = asyncio.get_running_loop().time()
            first = server.server._next_report
            assert before + 10 <= first <= after + 10
            assert server.server._sweeper is not None
            server.server._sweeper.cancel()
            reported: list[float] = []
            clock: Any = Clock()
            with monkeypatch.context() as patched:
                patched.setattr(server.server._log, "report", lambda: reported.append(clock.now))
                for seconds in (-0.1, 0.0, 1.0, 9.9, 10.5, 11.0, 20.4, 20.5):
                    clock.now = first + seconds
                    server.server._sweep(clock)
            assert reported == [first, first + 10.5, first + 20.5]

    run(main)


@pytest.mark.parametrize(
    "name",
    ["head_seconds", "body_grace_seconds", "idle_seconds", "linger_seconds", "stall_seconds"],
)
def test_nobody_overstays_by_more_than_a_quarter(name: str) -> None:
    """However short a deadline is; and by no more than a second where all are long."""
    short_one: dict[str, Any] = {name: 0.4}

    async def main() -> None:
        async with (
            serving(Recorder(), limits=replace(Limits(), **short_one)) as short,
            serving(Recorder()) as usual,
        ):
            assert short.server._sweep_seconds == pytest.approx(0.1)
            assert usual.server._sweep_seconds == 1.0

    run(main)


def test_a_connection_that_is_dropped_takes_no_place_of_those_that_are_refused() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=Limits(connections=1, refusals=1)) as server:
            admitted = await server.connect()
            refused = await server.connect()
            assert (await refused.answer()).status == 503
            for _ in range(3):
                assert await ended(await server.connect())
            await server.until(lambda: server.server.counters.connections == 2)
            refused.close()
            await server.until(lambda: server.server.counters.connections == 1)
            assert (await (await server.connect()).answer()).status == 503
            await admitted.send(get())
            assert (await admitted.answer()).status == 200

    run(main)
