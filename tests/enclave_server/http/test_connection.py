"""One connection at its socket: order, uploads that do not come as they should, early answers."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from enclave_server.http.connection import READ_BYTES, Connection, Shared
from enclave_server.http.limits import Limits
from enclave_server.http.messages import OuterRequest, OuterResponse
from enclave_server.http.phases import Phase
from enclave_server.log import Log
from tests.support.outer_http import FAMILIES, MIB, QUICK, Gate, get, post, refuse_refused, settled
from tests.support.sockets import DEADLINE, Peer, Recorder, Serving, run, serving


@FAMILIES
def test_one_connection_serves_many_requests(family: str) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serving(recorder, family=family) as server:
            peer = await server.connect()
            for number in range(1, 4):
                await peer.send(post(5) + b"hello")
                answer = await peer.answer()
                assert (answer.status, answer.body) == (200, b"%d POST /a 5" % number)
                assert set(answer.headers) == {"content-type", "date", "content-length"}
                assert parsedate_to_datetime(answer.headers["date"])
            assert server.server.counters.accepted == 1
            assert server.server.counters.answered == 3
        (line,) = (line for line in server.events() if line["event"] == "requests")
        assert (line["count"], line["received_bytes"]) == (3, 15)
        assert 0 <= line["mean_ms"] <= line["longest_ms"] <= 1000 * DEADLINE

    run(main)


@FAMILIES
def test_pipelined_requests_are_answered_in_order(family: str) -> None:
    async def main() -> None:
        async with serving(Recorder(), family=family) as server:
            peer = await server.connect()
            await peer.send(b"".join(post(3, f"/{n}") + b"abc" + get(f"/{n}") for n in range(50)))
            for number in range(1, 101):
                expected = b"%d %b /%d" % (number, (b"GET", b"POST")[number % 2], (number - 1) // 2)
                assert (await peer.answer()).body.startswith(expected)

    run(main)


def test_pipelined_requests_wait_in_the_kernel() -> None:
    """A peer that only sends fills the kernel's buffer, not ours."""

    async def main() -> None:
        gate = Gate()
        async with serving(gate) as server:
            peer = await server.connect()
            flood = asyncio.create_task(peer.send(get() * 100_000))
            await server.until(lambda: gate.running == 1)
            await asyncio.sleep(0.1)
            assert not flood.done()
            assert server.server.counters.buffered_bytes <= Limits().head_bytes + READ_BYTES
            flood.cancel()

    run(main)


def test_what_waited_in_the_kernel_is_answered_in_its_turn() -> None:
    """Reading had stopped while the first request was answered, and goes on after it."""

    async def main() -> None:
        gate = Gate()
        async with serving(gate) as server:
            peer = await server.connect()
            requests = 5_000  # several times what is read before reading stops
            flood = asyncio.create_task(peer.send(get() * requests))
            await server.until(lambda: gate.running == 1)
            await settled(lambda: server.server.counters.buffered_bytes)
            gate.open.set()
            reading = asyncio.create_task(peer.read_to_end())
            await flood
            await server.until(lambda: server.server.counters.answered == requests)
            peer.end()
            assert (await reading).count(b"HTTP/1.1 200") == requests

    run(main)


def test_what_follows_the_last_request_is_read_and_dropped() -> None:
    """Reading had stopped; what is left unread would destroy the answer by a reset."""

    async def main() -> None:
        gate = Gate()
        async with serving(gate, limits=Limits(linger_seconds=DEADLINE)) as server:
            peer = await server.connect()
            last = get().replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            flood = asyncio.create_task(peer.send(last + get() * 20_000))
            await server.until(lambda: gate.running == 1)
            await settled(lambda: server.server.counters.buffered_bytes)
            gate.open.set()
            await flood
            assert (await peer.answer()).status == 200
            assert server.server.counters.answered == 1

    run(main)


def test_answers_that_nobody_reads_stop_the_reading() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:
            peer = await server.connect()
            flood = asyncio.create_task(peer.send(get() * 100_000))
            await server.until(lambda: server.server.counters.answered > 0)
            answered = await settled(lambda: server.server.counters.answered)
            assert 0 < answered < 100_000
            assert not flood.done()
            flood.cancel()

    run(main)


def test_connection_close_is_honoured() -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serving(recorder) as server:
            peer = await server.connect()
            await peer.send(get("/a", "Connection: close") + get("/b"))
            answer = await peer.answer()
            assert answer.headers["connection"] == "close"
            assert await peer.read_to_end() == b""
            assert [request.path for request in recorder.requests] == [b"/a"]

    run(main)


def test_http_1_0_gets_one_answer_and_the_end() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:
            peer = await server.connect()
            await peer.send(get("/a", "Connection: keep-alive", version="1.0"))
            raw = await peer.read_to_end()
            assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close\r\n" in raw

    run(main)


@FAMILIES
def test_an_answer_that_is_there_needs_no_task(family: str) -> None:
    tasks: list[str] = []

    def count_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        tasks.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(count_task)
        async with serving(Recorder().at_once, family=family) as server:
            peer = await server.connect()
            for number in range(1, 4):
                await peer.send(post(5) + b"hello")
                answer = await peer.answer()
                assert (answer.status, answer.body) == (200, b"%d POST /a 5" % number)
            await peer.send(get("/long").replace(b"GET", b"HEAD"))
            assert (await peer.answer("HEAD")).headers["content-length"] == "14"
            await peer.send(get("/a", "Connection: close"))
            assert (await peer.answer()).headers["connection"] == "close"
            assert await peer.read_to_end() == b""
            peer.close()  # else the server would wait for it
            await server.until(lambda: server.server.counters.connections == 0)
            assert server.server.counters.answered == 5
            assert server.server.counters.buffered_bytes == 0
            await server.server.drain(1)
            assert [line["count"] for line in server.events()] == [5]
        assert not [name for name in tasks if name.startswith("Connection.")]

    run(main)


def test_a_pipeline_does_not_keep_others_waiting() -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serving(recorder.at_once) as server:
            many, one = await server.connect(), await server.connect()
            await many.send(get("/warm"))
            await one.send(get("/warm"))
            await many.answer()
            await one.answer()
            await many.send(b"".join(get(f"/{n}") for n in range(100)))
            await one.send(get("/one"))
            assert (await one.answer()).status == 200
            for number in range(100):
                assert b" /%d " % number in (await many.answer()).body
            asked = [request.path for request in recorder.requests]
            assert len(asked) == 103
            assert asked.index(b"/one") < 50

    run(main)


@FAMILIES
@pytest.mark.parametrize("part", [get()[:-2], post(5) + b"hell", post(5)])
def test_a_truncated_upload_is_a_400(family: str, part: bytes) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serving(recorder, family=family) as server:
            peer = await server.connect()
            await peer.send(part)
            peer.end()
            assert (await peer.answer()).status == 400
            assert await peer.read_to_end() == b""
            assert not recorder.requests

    run(main)


@FAMILIES
def test_a_reset_upload_leaves_nothing(family: str) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serving(recorder, family=family) as server:
            peer = await server.connect()
            await peer.send(post(10 * MIB) + b"x" * MIB)
            await server.until(lambda: server.server.counters.buffered_bytes >= MIB)
            peer.reset()
            await server.until(lambda: server.server.counters.connections == 0)
            assert server.server.counters.buffered_bytes == 0
            assert not recorder.requests

    run(main)


@FAMILIES
def test_a_half_closed_peer_gets_its_answers(family: str) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, family=family, limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(get("/a") + get("/b"))
            peer.end()
            peer.unread = await peer.receive()
            gate.open.set()
            first = await peer.answer()
            assert first.body == b"/a"
            assert set(first.interim) == {102}
            second = await peer.answer()
            assert (second.body, second.headers["connection"]) == (b"/b", "close")
            assert await peer.read_to_end() == b""

    run(main)


def test_an_old_half_closed_peer_gets_no_interim_answer() -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(get(version="1.0"))
            peer.end()
            await asyncio.sleep(0.1)
            gate.open.set()
            assert (await peer.answer()).interim == ()

    run(main)


@FAMILIES
@pytest.mark.parametrize("leave", [Peer.reset, Peer.close])
def test_a_peer_that_has_gone_cancels_its_request(
    family: str, leave: Callable[[Peer], None]
) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, family=family, limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(get())
            await server.until(lambda: gate.running == 1)
            leave(peer)
            await server.until(lambda: gate.cancelled == 1)
            await server.until(lambda: server.server.counters.connections == 0)
            assert server.server.counters.abandoned == 1
            assert server.server.counters.requests == 0

    run(main)


@FAMILIES
@pytest.mark.parametrize("path", ["/refused", "/a"])
def test_an_early_answer_to_a_large_upload_arrives(family: str, path: str) -> None:
    """Neither side is in a hurry: the peer sends all of its 20 MiB before it reads."""

    async def main() -> None:
        size = 20 * MIB
        limits = Limits(body_bytes=size - (path == "/a"))
        recorder = Recorder()
        async with serving(recorder, family=family, limits=limits, screen=refuse_refused) as server:
            peer = await server.connect()
            await peer.send(post(size, path))
            block = b"x" * MIB
            for _ in range(20):
                await peer.send(block)
            answer = await peer.answer()
            assert answer.status == (403 if path == "/refused" else 413)
            assert answer.headers["connection"] == "close"
            peer.end()
            assert await peer.read_to_end() == b""
            assert not recorder.requests

    run(main)


def test_an_early_answer_does_not_wait_for_the_upload() -> None:
    async def main() -> None:
        async with serving(Recorder(), screen=refuse_refused) as server:
            peer = await server.connect()
            await peer.send(post(MIB, "/refused"))
            assert (await peer.answer()).status == 403

    run(main)


def test_a_whole_request_that_is_refused_keeps_the_connection() -> None:
    async def main() -> None:
        async with serving(Recorder(), screen=refuse_refused) as server:
            peer = await server.connect()
            await peer.send(post(5, "/refused") + b"hello" + get())
            first, second = await peer.answer(), await peer.answer()
            assert (first.status, second.status) == (403, 200)

    run(main)


def test_an_upload_that_never_ends_is_cut_off() -> None:
    async def main() -> None:
        limits = Limits(linger_bytes=MIB)
        async with serving(Recorder(), limits=limits, screen=refuse_refused) as server:
            peer = await server.connect()
            await peer.send(post(20 * MIB, "/refused"))
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await peer.send(b"x" * (20 * MIB))

    run(main)


def test_an_expectation_is_a_417() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:
            peer = await server.connect()
            await peer.send(post(5, "/a", "Expect: 100-continue"))
            assert (await peer.answer()).status == 417

    run(main)


def test_a_head_that_is_too_large_is_a_431() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:
            peer = await server.connect()
            await peer.send(sent := get("/a", "X: " + "a" * 16384))
            answer = await peer.answer()
            assert answer.status == 431
        (line,) = (line for line in server.events() if line["event"] == "requests")
        assert (line["status"], line["count"], line["sent_bytes"]) == (431, 1, len(answer.body))
        assert line["received_bytes"] == len(sent)

    run(main)


def test_nothing_stays_behind_when_peers_misbehave() -> None:
    """Two hundred peers do something at random, at random moments; then nothing is left."""

    async def misbehave(server: Serving, seed: int) -> None:
        chance = random.Random(seed)
        peer = await server.connect()
        stream = b"".join(
            chance.choice([get(), post(5) + b"hello", post(90_000) + bytes(90_000), get()[:-3]])
            for _ in range(4)
        )
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(chance.randrange(6)):
                size = chance.choice([1, 40, 5000, 100_000])
                await peer.send(stream[:size])
                stream = stream[size:]
                await asyncio.sleep(chance.random() / 100)
            chance.choice([peer.end, peer.reset, peer.close, peer.end])()
            if peer.socket.fileno() >= 0:
                await peer.read_to_end()
                peer.close()

    async def slow_echo(request: OuterRequest) -> OuterResponse:
        await asyncio.sleep(len(request.body) / 10_000_000)
        return OuterResponse(200, (), request.body)

    async def main() -> None:
        async with serving(slow_echo, limits=QUICK) as server:
            await asyncio.gather(*(misbehave(server, seed) for seed in range(200)))
            await server.until(lambda: server.server.counters.connections == 0)
            await server.until(lambda: server.server.counters.requests == 0)
            assert server.server.counters.buffered_bytes == 0
            assert not [line for line in server.events() if line["event"] != "requests"]

    run(main)


@FAMILIES
def test_an_empty_line_is_no_request(family: str) -> None:
    """Neither by itself, nor between two requests, nor after the last."""

    async def main() -> None:
        async with serving(Recorder(), family=family) as server:
            peer = await server.connect()
            for piece in (b"\r\n", get("/1") + b"\r", b"\n" + get("/2") + b"\r\n"):
                await peer.send(piece)
                await asyncio.sleep(0.05)
            peer.end()
            assert [(await peer.answer()).body for _ in range(2)] == [b"1 GET /1 0", b"2 GET /2 0"]
            assert await peer.read_to_end() == b""

    run(main)


def test_an_empty_line_after_the_last_request_of_a_half_closed_peer() -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(get() + b"\r\n")
            peer.end()
            peer.unread = await peer.receive()
            gate.open.set()
            assert (await peer.answer()).status == 200
            assert await peer.read_to_end() == b""

    run(main)


class Wire(asyncio.Transport):
    """Stands in for a socket whose peer has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = self.closed = False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def write_eof(self) -> None:
        raise OSError

    def abort(self) -> None:
        self.aborted = True


def shared_by_none() -> Shared:
    shared = Shared(lambda _: OuterResponse(200), Limits(), Log())
    shared.loop = asyncio.get_running_loop()
    return shared


def connection() -> Connection:
    shared = shared_by_none()
    return Connection(shared, shared.budget.admit())


def test_a_peer_that_went_before_its_refusal_is_forgotten() -> None:
    async def main() -> None:
        wire, gone = Wire(), connection()
        gone.connection_made(wire)
        gone.get_buffer(-1)[:1] = b"\0"
        gone.buffer_updated(1)
        assert wire.written.startswith(b"HTTP/1.1 400 ")
        assert wire.aborted
        assert gone._shared.budget.held == 0  # of what it had sent

    run(main)


def test_only_streams_are_served() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="stream"):
            connection().connection_made(asyncio.DatagramTransport())

    run(main)


@pytest.mark.parametrize("leave", [Peer.reset, Peer.close])
def test_a_peer_that_has_asked_ahead_and_gone_cancels_its_request(
    leave: Callable[[Peer], None],
) -> None:
    """What it asked ahead fits into the room of a head: so reading has not stopped."""

    async def main() -> None:
        gate = Gate()
        async with serving(gate, limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(get())
            await server.until(lambda: gate.running == 1)
            (connection,) = server.server._shared.connections
            await peer.send(get())
            await server.until(lambda: connection._reader.held > 0)
            leave(peer)
            await server.until(lambda: gate.cancelled == 1)

    run(main)


def test_an_upload_that_is_larger_than_a_head_follows_a_request_that_took_its_time() -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate) as server:
            peer = await server.connect()
            body = b"x" * (4 * Limits().head_bytes)
            await peer.send(get())
            await server.until(lambda: gate.running == 1)
            sending = asyncio.create_task(peer.send(post(len(body)) + body))
            await settled(lambda: server.server.counters.buffered_bytes)
            gate.open.set()
            assert (await peer.answer()).status == 200
            assert (await peer.answer()).status == 200
            await sending

    run(main)


def test_a_connection_counts_among_others_until_it_is_lost() -> None:
    async def main() -> None:
        shared = shared_by_none()
        one, other = (Connection(shared, shared.budget.admit()) for _ in range(2))
        for each in (one, other):
            each.connection_made(Wire())
        assert shared.connections == {one, other}
        one.connection_lost(None)
        assert shared.connections == {other}
        assert one._progress.phase is Phase.CLOSED
        assert not shared.emptied.is_set()
        other.connection_lost(None)
        assert shared.emptied.is_set()

    run(main)


@pytest.mark.parametrize(("said", "closes"), [(b"", True), (b"G", False)])
def test_who_has_begun_to_ask_is_not_closed_as_idle(said: bytes, closes: bool) -> None:
    async def main() -> None:
        wire, server = Wire(), connection()
        server.connection_made(wire)
        server.get_buffer(-1)[: len(said)] = said
        if said:
            server.buffer_updated(len(said))
        server.close_if_idle()
        assert (wire.closed, wire.written) == (closes, b"")

    run(main)


def test_who_asks_nothing_in_time_is_closed_without_a_word() -> None:
    async def main() -> None:
        wire, server = Wire(), connection()
        server.connection_made(wire)
        begun = asyncio.get_running_loop().time()
        server.check_deadline(begun + Limits().idle_seconds - 1)
        assert not wire.closed
        server.check_deadline(begun + Limits().idle_seconds + 1)
        assert (wire.closed, wire.aborted, wire.written) == (True, False, b"")

    run(main)
