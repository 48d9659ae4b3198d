"""The server at its socket: order, limits, deadlines, early answers, streams, and its end."""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from enclave_server.http.answering import WRITE_BUFFER_BYTES
from enclave_server.http.connection import READ_BYTES
from enclave_server.http.limits import Limits
from enclave_server.http.messages import OuterRequest, OuterResponse
from tests.support.sockets import Peer, Recorder, Serving, run, serving

FAMILIES = pytest.mark.parametrize("family", ["unix", "tcp"])

MIB = 1024 * 1024
QUICK = Limits(
    head_seconds=0.2,
    body_grace_seconds=0.2,
    idle_seconds=0.2,
    stall_seconds=0.3,
    linger_seconds=0.3,
    probe_seconds=0.02,
)


def get(path: str = "/a", *fields: str, version: str = "1.1") -> bytes:
    lines = (f"GET {path} HTTP/{version}", "Host: a", *fields, "", "")
    return "\r\n".join(lines).encode()


def post(size: int, path: str = "/a", *fields: str) -> bytes:
    """Return the head of a request with `size` octets of content."""
    return get(path, f"Content-Length: {size}", *fields).replace(b"GET", b"POST", 1)


def refuse_refused(request: OuterRequest) -> OuterResponse | None:
    """Screen: the path decides."""
    return OuterResponse(403, (), b"no", "refused") if request.path == b"/refused" else None


class Gate:
    """A handler that waits until it is let go, and notes that it was cancelled."""

    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0
        self.open = asyncio.Event()

    async def __call__(self, request: OuterRequest) -> OuterResponse:
        self.running += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return OuterResponse(200, (), request.path, "gate")


class Fountain:
    """A handler that streams pieces for as long as they are taken."""

    def __init__(self, pieces: int, size: int) -> None:
        self.pieces = pieces
        self.size = size
        self.given = 0
        self.closed = 0

    async def __call__(self, request: OuterRequest) -> OuterResponse:
        return OuterResponse(200, (), self.stream(), "fountain")

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(self.pieces):
                self.given += 1
                yield b"x" * self.size
                await asyncio.sleep(0)
        finally:
            self.closed += 1


async def ended(peer: Peer) -> bool:
    """Whether the server ends the connection, orderly or not."""
    try:
        return await peer.read_to_end() == b""
    except ConnectionResetError:
        return True


async def settled(figure: Callable[[], int]) -> int:
    """Return a figure once it has stood still for a while."""
    last = -1
    while figure() != last:
        last = figure()
        await asyncio.sleep(0.2)
    return last


# Requests and answers.


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


def test_the_answer_to_head_has_no_content() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:
            peer = await server.connect()
            await peer.send(get("/long").replace(b"GET", b"HEAD") + get("/b"))
            assert (await peer.answer("HEAD")).headers["content-length"] == "14"
            assert (await peer.answer()).body == b"2 GET /b 0"

    run(main)


def test_a_handler_that_fails_is_a_500_without_a_reason() -> None:
    async def fail(request: OuterRequest) -> OuterResponse:
        raise ValueError(request.path.decode())

    async def main() -> None:
        async with serving(fail) as server:
            peer = await server.connect()
            for _ in range(2):
                await peer.send(get("/secret"))
                answer = await peer.answer()
                assert answer.status == 500
                assert answer.json == {"title": "Internal Server Error", "status": 500}
            assert "secret" not in server.log.getvalue()
            assert [line["kind"] for line in server.events()] == ["ValueError"] * 2

    run(main)


# Answers that are there at once.


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


def test_an_answer_at_once_waits_for_its_reader() -> None:
    """What does not fit into asyncio's buffer is written as the peer reads."""
    size = 200 * WRITE_BUFFER_BYTES

    async def main() -> None:
        answer = OuterResponse(200, (), bytes(size), "large")
        async with serving(lambda _: answer, limits=QUICK) as server:
            peer = await server.connect(receive_buffer=4096)
            await peer.send(get())
            await server.until(lambda: server.server.counters.requests == 1)
            assert server.server.counters.answered == 0
            assert (await peer.answer()).body == bytes(size)
            await server.until(lambda: server.server.counters.answered == 1)

    run(main)


def test_a_handler_that_fails_at_once_is_a_500_without_a_reason() -> None:
    def fail(request: OuterRequest) -> OuterResponse:
        raise ValueError(request.path.decode())

    async def main() -> None:
        async with serving(fail) as server:
            peer = await server.connect()
            for _ in range(2):
                await peer.send(get("/secret"))
                assert (await peer.answer()).json == {
                    "title": "Internal Server Error",
                    "status": 500,
                }
            assert "secret" not in server.log.getvalue()
            assert [line["kind"] for line in server.events()] == ["ValueError"] * 2

    run(main)


# Uploads that do not come as they should.


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


@pytest.mark.parametrize("part", [b"G", get()[:-2], post(5), post(5) + b"hell"])
def test_a_slow_upload_is_a_408(part: bytes) -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(part)
            answer = await peer.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert answer.headers["content-type"] == "application/problem+json"
            assert await peer.read_to_end() == b""

    run(main)


def test_a_head_that_trickles_is_a_408() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            peer = await server.connect()
            for octet in get("/" + "a" * 500):
                try:
                    await peer.send(bytes([octet]))
                except (BrokenPipeError, ConnectionResetError):
                    break
                if server.server.counters.answered or server.log.getvalue():
                    break
                await asyncio.sleep(0.01)
            assert (await peer.answer()).status == 408

    run(main)


def test_an_upload_at_the_minimum_rate_is_served() -> None:
    async def main() -> None:
        limits = dataclasses.replace(QUICK, body_bytes_per_second=50)
        async with serving(Recorder(), limits=limits) as server:
            peer = await server.connect()
            await peer.send(post(1000))
            for _ in range(10):
                await peer.send(b"x" * 100)
                await asyncio.sleep(0.05)
            assert (await peer.answer()).status == 200

    run(main)


def test_an_idle_connection_is_closed() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            silent = await server.connect()
            served = await server.connect()
            await served.send(get())
            assert (await served.answer()).status == 200
            assert await silent.read_to_end() == b""
            assert await served.read_to_end() == b""

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


# Answers that come before the upload has ended.


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


def test_a_peer_that_does_not_close_is_cut_off() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK, screen=refuse_refused) as server:
            peer = await server.connect()
            await peer.send(post(MIB, "/refused"))
            await server.until(lambda: server.server.counters.accepted == 1)
            await server.until(lambda: server.server.counters.connections == 0)
            assert (await peer.answer()).status == 403

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
            await peer.send(get("/a", "X: " + "a" * 16384))
            assert (await peer.answer()).status == 431

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


# More than there is room for.


@FAMILIES
def test_connections_above_the_limit_get_an_orderly_503(family: str) -> None:
    async def main() -> None:
        limits = Limits(connections=3, retry_after_seconds=7)
        async with serving(Recorder(), family=family, limits=limits) as server:
            admitted = [await server.connect() for _ in range(3)]
            await server.until(lambda: server.server.counters.connections == 3)
            for _ in range(5):
                refused = await server.connect()
                await refused.send(post(MIB) + b"x" * MIB)
                answer = await refused.answer()
                assert (answer.status, answer.headers["retry-after"]) == (503, "7")
                refused.end()
                assert await refused.read_to_end() == b""
                refused.close()
            for peer in admitted:
                await peer.send(get())
                assert (await peer.answer()).status == 200
            admitted.pop().close()
            await server.until(lambda: server.server.counters.connections == 2)
            again = await server.connect()
            await again.send(get())
            assert (await again.answer()).status == 200
            assert server.server.counters.refused == 5

    run(main)


def test_refusals_have_a_limit_too() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=Limits(connections=1, refusals=2)) as server:
            peers = [await server.connect() for _ in range(5)]
            for peer in peers[3:]:
                assert await ended(peer)
            assert (await peers[2].answer()).status == 503

    run(main)


def test_requests_above_the_limit_get_a_503_and_keep_their_connection() -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, limits=Limits(requests=2)) as server:
            first, second, third = [await server.connect() for _ in range(3)]
            await first.send(get("/1"))
            await second.send(get("/2"))
            await server.until(lambda: gate.running == 2)
            await third.send(get("/3"))
            answer = await third.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            gate.open.set()
            await third.send(get("/4"))
            assert (await first.answer()).body == b"/1"
            assert (await third.answer()).status in (200, 503)

    run(main)


def test_uploads_together_have_a_limit() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=Limits(buffered_bytes=2 * MIB)) as server:
            patient, greedy = await server.connect(), await server.connect()
            await patient.send(post(2 * MIB) + b"x" * MIB)
            await server.until(lambda: server.server.counters.buffered_bytes >= MIB)
            await greedy.send(post(2 * MIB) + b"x" * (2 * MIB - 1))
            assert (await greedy.answer()).status == 503
            await patient.send(b"x" * MIB)
            assert (await patient.answer()).status == 200
            await server.until(lambda: server.server.counters.buffered_bytes == 0)

    run(main)


def test_requests_being_answered_count_with_their_copies() -> None:
    async def main() -> None:
        gate = Gate()
        limits = Limits(buffered_bytes=8 * MIB, body_copies=4, requests=100)
        async with serving(gate, limits=limits) as server:
            alone, upload, request, small = [await server.connect() for _ in range(4)]
            await alone.send(post(3 * MIB) + b"x" * (3 * MIB))
            await server.until(lambda: gate.running == 1)
            for peer, size in ((upload, MIB), (request, 60_000)):
                await peer.send(post(size) + b"x" * size)
                assert (await peer.answer()).status == 503
            await small.send(post(20_000) + b"x" * 20_000)
            await server.until(lambda: gate.running == 2)
            assert server.server.counters.buffered_bytes == 4 * (3 * MIB + 20_000)
            gate.open.set()
            assert [(await peer.answer()).status for peer in (alone, small)] == [200, 200]
            await server.until(lambda: server.server.counters.buffered_bytes == 0)

    run(main)


# Streams.


@FAMILIES
def test_every_piece_is_one_chunk_and_goes_at_once(family: str) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def stream() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"piece %d" % number
                yield b""
                await go.wait()
                go.clear()

        async def handler(request: OuterRequest) -> OuterResponse:
            return OuterResponse(200, ((b"incremental", b"?1"),), stream(), "stream")

        async with serving(handler, family=family) as server:
            peer = await server.connect()
            await peer.send(get())
            first = await peer.receive()
            assert first.endswith(b"\r\n\r\n7\r\npiece 0\r\n")
            assert b"transfer-encoding: chunked\r\n" in first
            assert b"content-length" not in first
            go.set()
            assert await peer.receive() == b"7\r\npiece 1\r\n"
            go.set()
            assert await peer.receive() == b"7\r\npiece 2\r\n"
            go.set()
            assert await peer.receive() == b"0\r\n\r\n"
            await peer.send(get())
            assert (await peer.receive()).startswith(b"HTTP/1.1 200 OK\r\n")

    run(main)


def test_an_old_peer_gets_a_stream_until_the_end() -> None:
    async def main() -> None:
        async with serving(Fountain(3, 5)) as server:
            peer = await server.connect()
            await peer.send(get(version="1.0"))
            head, _, body = (await peer.read_to_end()).partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert body == b"x" * 15

    run(main)


def test_an_empty_stream_is_an_empty_answer() -> None:
    async def main() -> None:
        async with serving(Fountain(0, 5)) as server:
            peer = await server.connect()
            await peer.send(get() + get())
            assert [(await peer.answer()).body for _ in range(2)] == [b"", b""]

    run(main)


@FAMILIES
def test_a_slow_reader_slows_the_stream(family: str) -> None:
    async def main() -> None:
        fountain = Fountain(5_000, 4096)
        async with serving(fountain, family=family) as server:
            peer = await server.connect(receive_buffer=65536)
            await peer.send(get())
            await server.until(lambda: fountain.given > 5)
            stopped = await settled(lambda: fountain.given)
            assert stopped * 4096 < 8 * MIB  # the kernel's buffers and ours, of 20 MiB
            assert len((await peer.answer()).body) == 5_000 * 4096

    run(main)


def test_what_is_kept_for_slow_readers_is_bounded() -> None:
    async def main() -> None:
        fountain = Fountain(20_000, 4096)
        async with serving(fountain) as server:
            peers = [await server.connect() for _ in range(50)]
            for peer in peers:
                await peer.send(get())
            await server.until(lambda: fountain.given > 50)
            await settled(lambda: fountain.given)
            kept = unsent_bytes(server)
            assert len(kept) == 50
            assert max(kept) <= WRITE_BUFFER_BYTES + 2 * 4096

    run(main)


def unsent_bytes(server: Serving) -> list[int]:
    """Return how much of its answer each connection keeps."""
    connections = server.server._shared.connections
    return [connection._transport.get_write_buffer_size() for connection in connections]


@FAMILIES
@pytest.mark.parametrize("leave", [Peer.reset, Peer.close])
def test_a_peer_that_has_gone_ends_its_stream(family: str, leave: Callable[[Peer], None]) -> None:
    async def main() -> None:
        fountain = Fountain(1_000_000, 4096)
        async with serving(fountain, family=family) as server:
            peer = await server.connect()
            await peer.send(get())
            await peer.receive()
            leave(peer)
            await server.until(lambda: fountain.closed == 1)
            assert server.server.counters.abandoned == 1

    run(main)


def test_a_reader_that_stalls_is_cut_off() -> None:
    async def main() -> None:
        fountain = Fountain(1_000_000, 4096)
        async with serving(fountain, limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(get())
            await server.until(lambda: fountain.closed == 1)
            await server.until(lambda: server.server.counters.connections == 0)

    run(main)


@pytest.mark.parametrize("before", [0, 2])
def test_a_stream_that_fails_shows_as_truncated(before: int) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(before):
            yield b"piece"
        raise ValueError("secret")

    async def handler(request: OuterRequest) -> OuterResponse:
        return OuterResponse(200, (), stream(), "stream")

    async def main() -> None:
        async with serving(handler) as server:
            peer = await server.connect()
            await peer.send(get())
            raw = await peer.read_to_end()
            assert raw.count(b"piece") == before
            assert not raw.endswith(b"0\r\n\r\n")
            assert [line["kind"] for line in server.events()] == ["ValueError"]
            assert "secret" not in server.log.getvalue()

    run(main)


# The end of the server.


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


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_no_limit_can_be_zero(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
