"""One exchange by itself, over a transport that keeps what is written."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from enclave_server.http.answering import PIECE_BYTES, Exchange, Outlet
from enclave_server.http.dates import CurrentDate
from enclave_server.http.limits import Limits
from enclave_server.http.messages import OuterRequest, OuterResponse
from enclave_server.http.request_head import parse_head
from enclave_server.log import Log

PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.high = 0

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def write(self, data: bytes) -> None:
        self.written.append(data)


def exchange(handler: Any, version: bytes = b"1.1") -> tuple[Exchange, Transport]:
    transport = Transport()
    outlet = Outlet(cast(asyncio.Transport, transport), CurrentDate())
    assert transport.high > 0  # asyncio would take any amount
    head = parse_head(b"POST /a?b HTTP/%b\r\nHost: here\r\n\r\n" % version, Limits())
    return Exchange(head, handler, outlet, Log(io.StringIO())), transport


def answering(request: OuterRequest) -> OuterResponse:
    return OuterResponse(200, (), request.body, "route")


async def pieces(*words: bytes) -> AsyncIterator[bytes]:
    for word in words:
        yield word


def test_a_peer_is_probed_until_its_answer_has_begun() -> None:
    waiting, transport = exchange(answering)
    waiting.probe()
    waiting.probe()
    assert transport.written == [PROCESSING] * 2
    answer = waiting.respond(b"body")
    assert isinstance(answer, OuterResponse)
    assert waiting.write_whole(answer, b"body", ()) == 4
    transport.written.clear()
    waiting.probe()
    assert transport.written == []


def test_a_peer_of_before_is_never_probed() -> None:
    waiting, transport = exchange(answering, b"1.0")
    waiting.probe()
    assert transport.written == []


@pytest.mark.parametrize("words", [(b"one", b"", b"two"), ()])
def test_a_stream_that_has_begun_is_not_broken_into_by_a_probe(words: tuple[bytes, ...]) -> None:
    streaming, transport = exchange(answering)
    counts: list[int] = []

    async def probed() -> AsyncIterator[bytes]:
        streaming.probe()
        async for word in pieces(*words):
            yield word
            before = len(transport.written)
            streaming.probe()
            counts.append(len(transport.written) - before)

    response = OuterResponse(200, (), probed(), "route")
    assert asyncio.run(streaming.send(response, ())) == sum(map(len, words))
    assert transport.written[0] == PROCESSING  # nothing had begun
    assert counts == [0] * len(words)
    streaming.probe()
    said = b"".join(transport.written[1:])
    assert PROCESSING not in said
    assert said.endswith(b"0\r\n\r\n")
    for word in filter(None, words):
        assert b"%x\r\n%b\r\n" % (len(word), word) in said


def test_what_its_head_decides_asks_nobody_and_counts_nothing() -> None:
    refusal = OuterResponse(404, (), b"", "none")
    refused, _ = exchange(refusal)
    assert refused.refusal is refusal
    assert refused.received == 0
    assert refused.respond(b"12345") is refusal
    assert refused.received == 5


def test_what_is_asked_is_whole() -> None:
    asked: list[OuterRequest] = []

    def handler(request: OuterRequest) -> OuterResponse:
        asked.append(request)
        return answering(request)

    made, _ = exchange(handler)
    assert (made.received, made.refusal) == (0, None)
    made.respond(b"12345")
    (request,) = asked
    assert (request.method, request.path, request.query) == (b"POST", b"/a", b"b")
    assert (request.headers, request.body) == (((b"host", b"here"),), b"12345")


def waiter(outlet: Outlet) -> "asyncio.Future[None] | None":
    return outlet.writable


def test_a_writer_waits_for_a_reader_and_is_woken_once() -> None:
    async def scenario() -> None:
        outlet = Outlet(cast(asyncio.Transport, Transport()), CurrentDate())
        outlet.resume()  # nobody waits
        outlet.pause()
        waiting = waiter(outlet)
        assert waiting is not None
        before = waiting.done()
        outlet.resume()
        assert (before, waiting.done(), waiter(outlet)) == (False, True, None)
        outlet.pause()
        gone = waiter(outlet)
        assert gone is not None
        gone.cancel()
        outlet.resume()  # whoever waited has left
        assert waiter(outlet) is None

    asyncio.run(scenario())


def test_between_pieces_others_have_a_turn_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    transport = Transport()
    outlet = Outlet(cast(asyncio.Transport, transport), CurrentDate())
    body = bytes(2 * PIECE_BYTES + 1)
    asyncio.run(outlet.write_in_pieces(b"head", body))
    assert [len(piece) for piece in transport.written] == [4, PIECE_BYTES, PIECE_BYTES, 1]
    assert pauses == [0, 0, 0]


def test_a_long_answer_that_has_begun_is_not_broken_into_by_a_probe() -> None:
    async def scenario() -> None:
        long, transport = exchange(answering)
        body = bytes(3 * PIECE_BYTES)
        sending = asyncio.ensure_future(long.send(OuterResponse(200, (), body, "route"), ()))
        while not transport.written:
            await asyncio.sleep(0)
        long.probe()
        assert await sending == len(body)
        assert PROCESSING not in transport.written

    asyncio.run(scenario())
