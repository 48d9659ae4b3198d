"""Connections to upstreams: reuse, the one repetition, deadlines, what spoils a connection."""

import asyncio
import contextlib
import gc
import json
import math
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from enclave_server.chat.embedded import embedded_model
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.upstream import connections as module
from enclave_server.chat.upstream.connections import UpstreamConnections, UpstreamResponse
from enclave_server.chat.upstream.dialing import connect
from enclave_server.chat.upstream.stream import READ_AHEAD, Stream
from tests.support.upstream import (
    Behaviour,
    Exchange,
    StandInUpstream,
    answering,
    completion,
    hanging_up,
    raw,
    silent,
)
from tests.support.upstream_connection import (
    DEADLINE,
    Authority,
    ask,
    body_of,
    failure_of,
    post,
    upstream_at,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def choices(connections: UpstreamConnections) -> Any:
    return json.loads(await ask(connections))["choices"]


def kept(connections: UpstreamConnections) -> list[Stream]:
    return [stream for stream, _ in connections._idle]


# What goes out and comes in.


def test_request_is_as_asked_and_its_response_as_it_came() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            upstream.behaviour = raw(
                b"HTTP/1.1 418 Teapot\r\nX-One: 1\r\nx-ONE:\t 2 \r\nContent-Length: 2\r\n\r\nno"
            )
            connections = UpstreamConnections(upstream_at(upstream.address))
            fields = ((b"Host", b"there"), (b"Accept", b"*/*"))
            response = await connections.post(b"/a?b", fields, b"body")
            assert response.status == 418
            assert response.fields == (
                (b"x-one", b"1"),
                (b"x-one", b"2"),
                (b"content-length", b"2"),
            )
            assert await body_of(response) == b"no"
            (received,) = upstream.requests
            assert received.head == (
                b"POST /a?b HTTP/1.1\r\nHost: there\r\nAccept: */*\r\nContent-Length: 4\r\n\r\n"
            )
            assert received.body == b"body"
            connections.close()

    asyncio.run(scenario())


def test_informational_responses_are_passed_over() -> None:
    async def scenario() -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        async with StandInUpstream(raw(early * 2 + HEAD + b"Content-Length: 2\r\n\r\n{}")) as up:
            assert await ask(UpstreamConnections(upstream_at(up.address))) == b"{}"

    asyncio.run(scenario())


async def in_parts(exchange: Exchange, *parts: bytes) -> None:
    for part in parts:
        await exchange.send(part)
        await asyncio.sleep(0.02)


def test_head_that_comes_in_parts_is_waited_for() -> None:
    async def behave(exchange: Exchange) -> None:
        await in_parts(exchange, HEAD[:20], HEAD[20:], b"Content-Length: 2\r\n\r\n", b"{}")

    async def scenario() -> None:
        async with StandInUpstream(behave) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await ask(connections) == b"{}"
            assert len(kept(connections)) == 1
            connections.close()

    asyncio.run(scenario())


def test_a_few_octets_are_read_of_a_long_body() -> None:
    async def scenario() -> None:
        body = b"x" * 1_000_000
        answer = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        async with StandInUpstream(raw(answer)) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            response = await post(connections)
            assert 100 <= len(await response.read_up_to(100)) <= 3 * READ_AHEAD
            await response.close()
            assert kept(connections) == []

    asyncio.run(scenario())


def test_no_more_is_waited_for_than_was_asked_for() -> None:
    async def pause(exchange: Exchange) -> None:
        await exchange.send(HEAD + b"Content-Length: 9\r\n\r\nfour")
        await exchange.wait_gone()

    async def scenario() -> None:
        async with StandInUpstream(pause) as upstream, asyncio.timeout(DEADLINE / 10):
            connections = UpstreamConnections(upstream_at(upstream.address))
            response = await post(connections)
            assert await response.read_up_to(4) == b"four"
            await response.close()

    asyncio.run(scenario())


def test_large_answer_in_small_pieces_is_read_whole() -> None:
    async def scenario() -> None:
        text = json.dumps({"choices": "x" * 1_000_000}).encode()
        pieces = [text[i : i + 1000] for i in range(0, len(text), 1000)]

        async def dribble(exchange: Exchange) -> None:
            await exchange.head(200, "Content-Type: application/json", "Transfer-Encoding: chunked")
            for piece in [*pieces, b""]:
                await exchange.chunk(piece)

        async with StandInUpstream(dribble) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await ask(connections) == text
            assert len(kept(connections)) == 1
            connections.close()

    asyncio.run(scenario())


def test_large_request_arrives_whole() -> None:
    async def scenario() -> None:
        body = json.dumps("x" * 3_000_000).encode()
        async with StandInUpstream(raw(HEAD + b"Content-Length: 2\r\n\r\n{}")) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await ask(connections, body) == b"{}"
            assert upstream.requests[0].body == body

    asyncio.run(scenario())


# Reuse and retry.


def test_connection_is_used_again_and_closed_at_last() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            for _ in range(5):
                await choices(connections)
            assert (upstream.connections, len(upstream.requests)) == (1, 5)
            assert connections.counts == module.Counts(connected=1, reused=4, repeated=0)
            connections.close()
            assert kept(connections) == []

    asyncio.run(scenario())


def test_no_more_connections_are_kept_than_told() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, idle_connections=2))
            responses = [await post(connections) for _ in range(3)]
            streams = [response._stream for response in responses]
            for response in responses:
                await body_of(response)
            assert kept(connections) == streams[:2]
            assert streams[2]._transport.is_closing()
            connections.close()

    asyncio.run(scenario())


def test_closing_twice_gives_one_connection_back() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, concurrency=1))
            response = await post(connections)
            await body_of(response)
            await response.close()
            assert len(kept(connections)) == 1
            held = await post(connections)
            with pytest.raises(UpstreamError) as refused:
                await post(connections)
            assert refused.value.failure is Failure.BUSY
            assert refused.value.fields == ((b"retry-after", b"1"),)
            await held.close()
            connections.close()

    asyncio.run(scenario())


def test_whoever_fails_gives_the_place_back() -> None:
    async def scenario() -> None:
        async with StandInUpstream(hanging_up) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, concurrency=1))
            for _ in range(2):
                assert await failure_of(connections) is Failure.BROKEN

    asyncio.run(scenario())


def test_field_that_would_end_its_line_is_refused_before_anything_is_taken() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, concurrency=1))
            for _ in range(2):
                with pytest.raises(ValueError, match="line end"):
                    await connections.post(b"/", ((b"A", b"b\r\nC: d"),), b"")
            assert (upstream.connections, connections.counts.connected) == (0, 0)

    asyncio.run(scenario())


def test_embedded_engine_gets_a_connection_for_each_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "engine.sock"
        async with StandInUpstream(path=path) as upstream:
            connections = UpstreamConnections(embedded_model("m", str(path), None).upstream)
            for _ in range(3):
                await choices(connections)
            assert upstream.connections == 3
            assert upstream.requests[0].fields["connection"] == "close"

    asyncio.run(scenario())


async def until_free(connections: UpstreamConnections) -> None:
    async with asyncio.timeout(DEADLINE):
        while connections.in_use:
            await asyncio.sleep(0.01)


def telling_its_end(upstream: StandInUpstream) -> UpstreamConnections:
    return UpstreamConnections(upstream_at(upstream.address, concurrency=1, tells_its_end=True))


def test_exchange_that_is_given_up_counts_until_the_upstream_has_stopped() -> None:
    async def scenario() -> None:
        noticed, stopped = asyncio.Event(), asyncio.Event()

        async def thinking(exchange: Exchange) -> None:
            assert await exchange.reader.read() == b""  # our half is closed
            noticed.set()
            await exchange.send(b"HTTP/1.1 200 too late\r\n")
            await stopped.wait()
            exchange.writer.close()

        async with StandInUpstream(thinking) as upstream:
            connections = telling_its_end(upstream)
            asking = asyncio.ensure_future(post(connections))
            while not upstream.requests:
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await noticed.wait()
            assert await failure_of(connections) is Failure.BUSY
            assert len(connections._left) == 1
            stopped.set()
            await until_free(connections)
            assert not connections._left

    asyncio.run(scenario())


def test_answer_that_is_left_in_its_middle_counts_until_the_upstream_has_stopped() -> None:
    async def scenario() -> None:
        stopped = asyncio.Event()

        async def talking(exchange: Exchange) -> None:
            await exchange.send(HEAD + b"Content-Length: 9\r\n\r\nhalf")
            await exchange.reader.read()
            await stopped.wait()
            exchange.writer.close()

        async with StandInUpstream(talking) as upstream:
            connections = telling_its_end(upstream)
            response = await post(connections)
            await response.close()
            await response.close()
            assert connections.in_use == 1
            stopped.set()
            await until_free(connections)

    asyncio.run(scenario())


@pytest.mark.parametrize("ending", ["never", "closed"])
def test_exchange_counts_no_longer_than_there_is_hope(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == "never":
        monkeypatch.setattr(module, "STOP_SECONDS", 0.05)

    async def deaf(exchange: Exchange) -> None:
        await asyncio.sleep(DEADLINE)

    async def scenario() -> None:
        async with StandInUpstream(deaf) as upstream:
            place = upstream_at(
                upstream.address, concurrency=1, tells_its_end=True, first_byte_seconds=0.05
            )
            connections = UpstreamConnections(place)
            assert await failure_of(connections) is Failure.SLOW
            assert connections.in_use == 1
            if ending == "closed":
                connections.close()
            await until_free(connections)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nconnection: x, Close\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\n\r\n{}?",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n?",
        HEAD + b"\r\n{}",
    ],
)
def test_connection_is_not_kept_after(answer: bytes) -> None:
    async def say(exchange: Exchange) -> None:
        await exchange.send(answer)
        if b"Length" not in answer and b"chunked" not in answer:
            exchange.writer.close()

    async def scenario() -> None:
        async with StandInUpstream(say) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            for _ in range(2):
                assert await ask(connections) == b"{}"
                assert kept(connections) == []
            assert upstream.connections == 2

    asyncio.run(scenario())


def test_connection_that_the_server_closed_is_not_used_again() -> None:
    async def closing(exchange: Exchange) -> None:
        await answering()(exchange)
        exchange.writer.close()

    async def scenario() -> None:
        async with StandInUpstream(closing) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            for pause in (0.0, 0.05, 0.0):
                await choices(connections)
                await asyncio.sleep(pause)
            assert len(upstream.requests) == 3
            connections.close()

    asyncio.run(scenario())


def test_connection_that_ends_while_idle_is_forgotten() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            responses = [await post(connections) for _ in range(2)]
            for response in responses:
                await body_of(response)
            first, second = kept(connections)
            first.eof_received()
            assert kept(connections) == [second]
            assert first._transport.is_closing()
            connections.close()

    asyncio.run(scenario())


def test_connection_that_was_long_idle_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            await choices(connections)
            monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
            await asyncio.sleep(0.02)
            await choices(connections)
            assert upstream.connections == 2
            connections.close()

    asyncio.run(scenario())


def test_words_that_nobody_asked_for_spoil_a_connection() -> None:
    async def chatty(exchange: Exchange) -> None:
        await answering()(exchange)
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def scenario() -> None:
        async with StandInUpstream(chatty) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            for _ in range(2):
                assert await choices(connections)
                await asyncio.sleep(0.05)
            assert upstream.connections == 2
            connections.close()

    asyncio.run(scenario())


def test_an_answer_for_the_next_person_is_not_taken_from_the_same_piece() -> None:
    """It is then inside the process, where nobody who looks at the socket sees it."""
    stolen = json.dumps(completion("For somebody else.")).encode()
    head = HEAD + b"Content-Length: %d\r\n\r\n"

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            answer = json.dumps(completion("Paris.")).encode()
            pieces = [head % len(body) + body for body in (answer, stolen)]

            async def two_at_once(exchange: Exchange) -> None:
                await exchange.send(b"".join(pieces))

            upstream.behaviour = two_at_once
            for _ in range(2):
                choice = (await choices(connections))[0]
                assert choice["message"]["content"] == "Paris."
            assert upstream.connections == 2
            connections.close()

    asyncio.run(scenario())


def test_an_answer_for_the_next_person_is_not_taken_from_the_kernel() -> None:
    """It comes after the connection was put aside, and the event loop has not seen it yet."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connections = UpstreamConnections(
                upstream_at(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            )
            asking = asyncio.ensure_future(post(connections))
            await asyncio.sleep(0.02)
            accepted, _ = listener.accept()
            accepted.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
            await body_of(await asking)
            (stream,) = kept(connections)
            accepted.sendall(HEAD + b"Content-Length: 6\r\n\r\nstolen")
            assert connections._idle_stream() is None  # without a turn of the event loop
            assert stream._transport.is_closing()
            accepted.close()
            await asyncio.sleep(0)

    asyncio.run(scenario())


def test_response_before_the_whole_request_spoils_the_connection() -> None:
    """What was not sent of the request would be taken for the next one."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connections = UpstreamConnections(
                upstream_at(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            )
            asking = asyncio.ensure_future(post(connections, b"x" * 32 * 1024 * 1024))
            await asyncio.sleep(0.05)
            accepted, _ = listener.accept()
            accepted.sendall(b"HTTP/1.1 413 Too Long\r\nContent-Length: 0\r\n\r\n")
            response = await asking
            assert response.status == 413
            assert await body_of(response) == b""
            assert kept(connections) == []
            accepted.close()

    asyncio.run(scenario())


def test_request_is_not_repeated_once_a_fresh_connection_took_a_byte() -> None:
    """It may have been acted on."""

    async def scenario() -> None:
        async with StandInUpstream(hanging_up) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await failure_of(connections) is Failure.BROKEN
            assert len(upstream.requests) == 1
            assert connections.counts.repeated == 0
            connections.close()

    asyncio.run(scenario())


def first_then(first: Behaviour, then: Behaviour) -> Behaviour:
    behaviours = [first]

    async def behave(exchange: Exchange) -> None:
        await (behaviours.pop() if behaviours else then)(exchange)

    return behave


def test_kept_connection_that_ends_unanswered_is_tried_once_on_a_fresh_one() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            told: list[None] = []
            connections = UpstreamConnections(
                upstream_at(upstream.address), lambda: told.append(None)
            )
            await choices(connections)
            upstream.behaviour = first_then(hanging_up, answering())
            assert await choices(connections)
            assert (upstream.connections, len(upstream.requests)) == (2, 3)
            assert upstream.requests[1] == upstream.requests[2]
            assert (connections.counts.repeated, len(told)) == (1, 1)
            connections.close()

    asyncio.run(scenario())


def test_kept_connection_that_ends_unanswered_is_tried_no_more_than_once() -> None:
    """Also when other kept connections are left."""

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            responses = [await post(connections) for _ in range(3)]
            for response in responses:
                await body_of(response)
            upstream.behaviour = hanging_up
            assert await failure_of(connections) is Failure.BROKEN
            assert (upstream.connections, len(upstream.requests)) == (4, 5)
            assert connections.counts.repeated == 1
            connections.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_kept_connection_that_ends_after_an_octet_is_not_tried_again(start: bytes) -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            await choices(connections)
            upstream.behaviour = raw(start)
            assert await failure_of(connections) is Failure.BROKEN
            assert len(upstream.requests) == 2
            assert connections.counts.repeated == 0

    asyncio.run(scenario())


def test_kept_connection_that_is_silent_is_not_tried_again() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, first_byte_seconds=0.2))
            await choices(connections)
            upstream.behaviour = silent
            assert await failure_of(connections) is Failure.SLOW
            assert len(upstream.requests) == 2

    asyncio.run(scenario())


def test_request_is_repeated_if_nothing_was_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept connection turns out to be closed only when it is written to."""

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            await choices(connections)
            (stream,) = kept(connections)
            stream.rest(lambda _: None)
            stream.eof_received()
            monkeypatch.setattr(Stream, "is_usable", lambda _: True)
            assert await choices(connections)
            assert (upstream.connections, len(upstream.requests)) == (2, 2)
            assert connections.counts.repeated == 1
            connections.close()

    asyncio.run(scenario())


def test_request_is_repeated_if_a_fresh_connection_ended_before_it_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))

            async def ended(*arguments: Any) -> Stream:
                monkeypatch.setattr(module, "connect", connect)
                stream = await connect(*arguments)
                stream.eof_received()
                return stream

            monkeypatch.setattr(module, "connect", ended)
            assert await choices(connections)
            assert (upstream.connections, len(upstream.requests)) == (2, 1)
            connections.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("sent", "failure"), [(True, Failure.BROKEN), (False, Failure.ABSENT)])
def test_upstream_that_is_gone_failed_if_it_had_the_request_and_is_absent_if_not(
    sent: bool, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> Stream:
        raise ConnectionRefusedError

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            await choices(connections)
            upstream.behaviour = hanging_up
            monkeypatch.setattr(module, "connect", refuse)
            monkeypatch.setattr(module, "RETRY_AFTER_SECONDS", 0.0)
            if not sent:
                (stream,) = kept(connections)
                stream.rest(lambda _: None)
                stream.eof_received()
                monkeypatch.setattr(Stream, "is_usable", lambda _: True)
            assert await failure_of(connections) is failure
            assert len(upstream.requests) == 1 + sent

    asyncio.run(scenario())


def test_connect_is_tried_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "upstream.sock"
        connections = UpstreamConnections(upstream_at(f"unix:{path}"))
        task = asyncio.ensure_future(choices(connections))
        await asyncio.sleep(0)
        async with StandInUpstream(path=path):
            assert await task
            connections.close()

    asyncio.run(scenario())


def test_connect_is_tried_no_more_than_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[None] = []

    async def refuse(*_: Any) -> Stream:
        tried.append(None)
        raise ConnectionRefusedError

    async def scenario() -> None:
        monkeypatch.setattr(module, "connect", refuse)
        monkeypatch.setattr(module, "RETRY_AFTER_SECONDS", 0.0)
        assert await failure_of(UpstreamConnections(upstream_at("unix:/x"))) is Failure.ABSENT
        assert len(tried) == 2

    asyncio.run(scenario())


# Deadlines.


def test_request_that_nobody_reads_is_slow() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
            connections = UpstreamConnections(upstream_at(address, first_byte_seconds=0.1))
            assert await failure_of(connections, b"x" * 32 * 1024 * 1024) is Failure.SLOW

    asyncio.run(scenario())


def test_head_that_never_ends_is_slow() -> None:
    """The deadline is that of the whole head, not of each octet of it."""

    async def dribble(exchange: Exchange) -> None:
        await exchange.send(HEAD)
        with contextlib.suppress(ConnectionError):
            while True:
                await exchange.send(b"X: y\r\n")
                await asyncio.sleep(0.02)

    async def scenario() -> None:
        async with StandInUpstream(dribble) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, first_byte_seconds=0.2))
            assert await failure_of(connections) is Failure.SLOW

    asyncio.run(scenario())


def test_no_head_is_waited_for_beyond_the_end_of_the_answer() -> None:
    """Until then a token that pays for it is held, and not longer."""

    async def scenario() -> None:
        async with StandInUpstream(silent) as upstream:
            place = upstream_at(upstream.address, total_seconds=0.1)
            assert place.head_seconds(is_stream=True) > DEADLINE
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(UpstreamError) as caught:
                    await UpstreamConnections(place).post(b"/", (), b"{}", is_stream=True)
            assert caught.value.failure is Failure.SLOW

    asyncio.run(scenario())


@pytest.mark.parametrize("framing", [b"Content-Length: 99\r\n\r\n", b"\r\n"])
def test_body_that_never_ends_is_slow_also_if_it_would_end_with_its_connection(
    framing: bytes,
) -> None:
    async def stop(exchange: Exchange) -> None:
        await exchange.send(HEAD + framing + b"{")
        await exchange.wait_gone()

    async def scenario() -> None:
        async with StandInUpstream(stop) as upstream:
            for take in (False, True):
                connections = UpstreamConnections(upstream_at(upstream.address, total_seconds=0.1))
                response = await post(connections)
                with pytest.raises(UpstreamError) as caught:
                    await (asked(response) if take else body_of(response))
                assert caught.value.failure is Failure.SLOW
                await response.close()
                assert kept(connections) == []

    asyncio.run(scenario())


@contextlib.contextmanager
def noted_timers() -> Iterator[dict[float, asyncio.TimerHandle]]:
    """Yield what the event loop is to do later, by the seconds until then, in tens of them."""
    loop, timers = asyncio.get_running_loop(), dict[float, asyncio.TimerHandle]()
    call_at = loop.call_at

    def note(at: float, *others: Any, **context: Any) -> asyncio.TimerHandle:
        timers[10 * math.ceil((at - loop.time()) / 10)] = handle = call_at(at, *others, **context)
        return handle

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "call_at", note)
        yield timers


def test_the_time_for_a_head_ends_with_it() -> None:
    """Else it would end the body that comes after it."""

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, first_byte_seconds=80))
            with noted_timers() as timers:
                response = await post(connections)
                assert timers[80].cancelled()
            await body_of(response)
            connections.close()

    asyncio.run(scenario())


def test_the_time_to_stop_ends_with_the_upstream_s_end() -> None:
    async def scenario() -> None:
        async with StandInUpstream(silent) as upstream:
            connections = telling_its_end(upstream)
            asking = asyncio.ensure_future(post(connections))
            while not upstream.requests:
                await asyncio.sleep(0.01)
            with noted_timers() as timers:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                await until_free(connections)
            assert timers[module.STOP_SECONDS].cancelled()

    asyncio.run(scenario())


def dripping(seconds: float, words: int) -> Behaviour:
    """Send so many words, so far apart, then nothing."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head(200, "Transfer-Encoding: chunked")
        with contextlib.suppress(ConnectionError):
            for _ in range(words):
                await exchange.chunk(b"x")
                await asyncio.sleep(seconds)
        await exchange.wait_gone()

    return behave


async def opened(upstream: StandInUpstream, *, is_stream: bool = True) -> UpstreamResponse:
    """Return the response of an upstream that may be silent for a moment only."""
    connections = UpstreamConnections(upstream_at(upstream.address, idle_seconds=0.3))
    async with asyncio.timeout(DEADLINE):
        return await connections.post(b"/", (), b"{}", is_stream=is_stream)


async def hear(response: UpstreamResponse, said: bytearray, *, take: bool) -> None:
    """Add to `said` what comes, for as long as anything does."""
    async with asyncio.timeout(DEADLINE):
        while (piece := response.take() if take else await response.next_piece()) is not None:
            said += piece
            await asyncio.sleep(0)


def test_the_times_of_a_response_end_with_it() -> None:
    """Else they would end the next one on the same connection."""

    async def in_two_pieces(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Length: 1")
        await begun.wait()
        await exchange.send(b"x")

    begun = asyncio.Event()

    async def scenario() -> None:
        async with StandInUpstream(in_two_pieces) as upstream:
            response = await opened(upstream)
            begun.set()
            assert await body_of(response) == b"x"
            await response.close()
            timers = [each for each in (response._timer, response._idle_timer) if each is not None]
            assert [each.cancelled() for each in timers] == [True, True]

    asyncio.run(scenario())


@pytest.mark.parametrize("take", [False, True])
def test_a_stream_that_falls_silent_is_slow(take: bool) -> None:
    async def scenario() -> None:
        async with StandInUpstream(dripping(0.05, 8)) as upstream:
            response, said = await opened(upstream), bytearray()
            with pytest.raises(UpstreamError) as caught:
                await hear(response, said, take=take)
            assert caught.value.failure is Failure.SLOW
            assert said == b"x" * 8
            await response.close()

    asyncio.run(scenario())


def test_what_waits_for_its_reader_is_no_silence() -> None:
    async def scenario() -> None:
        async with StandInUpstream(dripping(0, 2)) as upstream:
            response = await opened(upstream)
            await asyncio.sleep(0.8)
            assert await response.next_piece()
            await response.close()

    asyncio.run(scenario())


def test_an_answer_in_one_piece_may_be_silent() -> None:
    async def pausing(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Length: 2")
        await exchange.send(b"a")
        await asyncio.sleep(0.8)
        await exchange.send(b"b")

    async def scenario() -> None:
        async with StandInUpstream(pausing) as upstream:
            assert await body_of(await opened(upstream, is_stream=False)) == b"ab"

    asyncio.run(scenario())


async def asked(response: UpstreamResponse) -> bytes:
    """Return the body of a response that was asked for until it was whole."""
    body = b""
    while (piece := response.take()) is not None:
        body += piece
        await asyncio.sleep(0)
    await response.close()
    return body


def test_cancelled_request_closes_its_connection() -> None:
    async def scenario() -> None:
        async with StandInUpstream(silent) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, concurrency=1))
            asking = asyncio.ensure_future(post(connections))
            while not upstream.requests:
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            async with asyncio.timeout(DEADLINE):
                while not upstream.gone:
                    await asyncio.sleep(0.01)
            upstream.behaviour = answering()
            assert await choices(connections)
            connections.close()

    asyncio.run(scenario())


# What cannot be read.


MALFORMED = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "a length and a coding": HEAD
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "a wrong chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_response_is_refused_though_its_connection_stays_open(case: str) -> None:
    async def say(exchange: Exchange) -> None:
        await exchange.send(MALFORMED[case])
        await exchange.wait_gone()

    async def scenario() -> None:
        async with StandInUpstream(say) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await failure_of(connections) is Failure.BROKEN
            assert len(upstream.requests) == 1

    asyncio.run(scenario())


def test_what_came_before_a_fault_is_given_first() -> None:
    """Whether it came with the head or later, and though the connection stays open."""
    good, bad = b"2\r\n{}\r\n", b"x\r\n"

    async def scenario(*parts: bytes) -> None:
        async def say(exchange: Exchange) -> None:
            await in_parts(exchange, *parts)
            await exchange.wait_gone()

        async with StandInUpstream(say) as upstream, asyncio.timeout(DEADLINE):
            for take in (False, True):
                connections = UpstreamConnections(upstream_at(upstream.address))
                response = await post(connections)
                body = bytearray()
                with pytest.raises(UpstreamError) as caught:
                    await _read_into(body, response, take)
                assert (caught.value.failure, bytes(body)) == (Failure.BROKEN, b"{}")
                await response.close()

    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    asyncio.run(scenario(head + good + bad))
    asyncio.run(scenario(head, good + bad))


async def _read_into(body: bytearray, response: UpstreamResponse, take: bool) -> None:
    while True:
        body += (response.take() if take else await response.next_piece()) or b""
        await asyncio.sleep(0)


def test_reset_is_no_end_of_a_body() -> None:
    async def reset(exchange: Exchange) -> None:
        await exchange.send(HEAD + b"\r\n{}")
        await asyncio.sleep(0.02)
        sock = exchange.writer.get_extra_info("socket")
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        exchange.abort()

    async def scenario() -> None:
        async with StandInUpstream(reset) as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await failure_of(connections) is Failure.BROKEN

    asyncio.run(scenario())


# Asking without waiting.


def test_asking_through_tls_takes_all_of_a_burst(tmp_path: Path) -> None:
    """More than is read ahead: what stops the reading must not stop it for good."""
    size = 10 * READ_AHEAD

    async def burst(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: application/json", f"Content-Length: {size}")
        await exchange.send(b"x" * size)

    async def scenario() -> None:
        authority = Authority(tmp_path)
        async with (
            StandInUpstream(burst, tls=authority.server()) as upstream,
            asyncio.timeout(DEADLINE),
        ):
            connections = UpstreamConnections(authority.upstream(upstream.address))
            assert len(await asked(await post(connections))) == size
            assert len(await ask(connections)) == size
            assert upstream.connections == 1
            connections.close()

    asyncio.run(scenario())


async def haltingly(exchange: Exchange) -> None:
    """Answer with the body some time after the head."""
    body = b'{"choices":[]}'
    await exchange.head(200, "Content-Type: application/json", f"Content-Length: {len(body)}")
    await asyncio.sleep(0.02)
    await exchange.send(body)


def test_connection_is_kept_after_it_was_asked() -> None:
    async def scenario() -> None:
        async with StandInUpstream(haltingly) as upstream, asyncio.timeout(DEADLINE):
            connections = UpstreamConnections(upstream_at(upstream.address))
            for _ in range(3):
                assert await asked(await post(connections)) == b'{"choices":[]}'
            assert (upstream.connections, len(upstream.requests)) == (1, 3)
            connections.close()

    asyncio.run(scenario())


def test_end_of_a_kept_connection_is_noticed_after_it_was_asked() -> None:
    async def closing(exchange: Exchange) -> None:
        await haltingly(exchange)
        await asyncio.sleep(0.1)
        exchange.writer.close()

    async def scenario() -> None:
        async with StandInUpstream(closing) as upstream, asyncio.timeout(DEADLINE):
            connections = UpstreamConnections(upstream_at(upstream.address))
            assert await asked(await post(connections))
            assert len(kept(connections)) == 1
            while kept(connections):
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def frames_in_cycles() -> list[str]:
    """Return the names of our functions whose frames are kept by a cycle alone."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        frames = [item for item in gc.garbage if isinstance(item, FrameType)]
        code = [frame.f_code for frame in frames]
        return [each.co_name for each in code if "enclave_server" in each.co_filename]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("behaviour", [answering(), hanging_up, silent, raw(b"x"), raw(HEAD)])
def test_nothing_of_a_request_waits_for_the_garbage_collector(behaviour: Behaviour) -> None:
    """A request holds a question and a key, and the collector comes seldom."""

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            connections = UpstreamConnections(upstream_at(upstream.address, first_byte_seconds=0.1))
            await choices(connections)
            upstream.behaviour = behaviour
            gc.collect()
            gc.disable()
            try:
                with contextlib.suppress(UpstreamError):
                    await ask(connections)
                assert frames_in_cycles() == []
            finally:
                gc.enable()
            connections.close()

    asyncio.run(scenario())


FIRST = """
import asyncio, sys
from enclave_server.addresses import parse_address
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.chat.upstream.connections import UpstreamConnections

async def main():
    known = set(sys.modules)
    connections = UpstreamConnections(Upstream("u", parse_address(sys.argv[1])))
    response = await connections.post(b"/", ((b"Host", b"u"),), b"{}")
    await response.read_up_to(1 << 20)
    await response.close()
    print(*(set(sys.modules) - known))

asyncio.run(main())
"""


def test_first_question_loads_nothing() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream, asyncio.timeout(DEADLINE):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", FIRST, upstream.address, stdout=subprocess.PIPE
            )
            loaded, _ = await process.communicate()
            assert process.returncode == 0
            assert loaded.split() == []

    asyncio.run(scenario())
