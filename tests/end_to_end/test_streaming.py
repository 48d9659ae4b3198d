"""Streams through real processes: one shape for all, bounded memory, an end when nobody listens."""

import asyncio
import contextlib
import http.client
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oblivious_client.client import ObliviousClient
from oblivious_client.policy import Policy, Simulated
from oblivious_client.sealing import AnswerReader, Framing, seal
from protocol.binary_http import Event, Request, ResponseHead
from protocol.key_config import KeyConfig
from tests.support.enclave import (
    Enclave,
    chat_request,
    models_request,
    private_directory,
    running_enclave,
    running_upstream,
    stand_in_config,
)
from tests.support.stack import Stack, connect, reference_relay
from tests.support.upstream import (
    Behaviour,
    Exchange,
    StandInUpstream,
    answering,
    chunk_of,
    event,
    sending,
    silent,
    streaming_without_end,
)

TRIAL = Policy(simulated=Simulated.ALLOWED)
DEADLINE = 120.0
# The promise is one second. A busy machine is given more, but less than any timeout of ours
# would take to end what nobody waits for.
STOP_SECONDS = 20.0
CHUNK_BYTES = 4096 + 18  # of the default configuration: plaintext, tag, and the length before it
NONCE_BYTES = 32
SERIES = (5, 8, 12, 18, 27, 41, 62, 93, 140, 210, 315)
READERS = 200
READER_KIB = 250  # of memory that each may take; what one takes that keeps up, the bench measures


def sealed(config: KeyConfig, request: Request) -> tuple[bytes, AnswerReader]:
    """Return an outer request around `request`, and what opens its answer."""
    answer = seal(config, request, Framing.CHUNKED)
    body = b"".join(answer.pieces)
    head = (
        "POST /v1/ohttp HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
        f"Content-Type: {Framing.CHUNKED.request_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body, answer.reader


def read_all(stream: socket.socket) -> bytes:
    data = bytearray()
    while piece := stream.recv(1 << 16):
        data += piece
    return bytes(data)


def split(answer: bytes) -> tuple[bytes, list[bytes]]:
    """Return the head and the chunks of an HTTP answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    chunks: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        if size == b"0":
            assert body == b"\r\n"
            return head, chunks
        chunks.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]


def opened(chunks: list[bytes], reader: AnswerReader) -> tuple[int, bytes]:
    """Return status and content of an answer whose end verifies."""
    events: list[Event] = [event for chunk in chunks for event in reader.feed(chunk)]
    events += reader.finish()
    [head] = [event for event in events if isinstance(event, ResponseHead)]
    return head.status, b"".join(event for event in events if isinstance(event, bytes))


def ask(enclave: Enclave, request: Request) -> tuple[bytes, list[bytes], int, bytes]:
    """Return the head and the chunks as the outside sees them, and the inner status and content."""
    data, reader = sealed(enclave.key_configs()[0], request)
    with connect(f"unix:{enclave.path}") as stream:
        stream.sendall(data)
        head, chunks = split(read_all(stream))
    return head, chunks, *opened(chunks, reader)


def slowly(seconds: float) -> Behaviour:
    """Think, then say a few words."""

    async def behave(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await answering("Paris, I think.")(exchange)

    return behave


@pytest.fixture(scope="module")
def enclave() -> Iterator[tuple[StandInUpstream, Enclave]]:
    with (
        running_upstream() as upstream,
        running_enclave(stand_in_config(upstream.address)) as running,
    ):
        yield upstream, running


def test_whatever_is_asked_the_answer_looks_the_same(
    enclave: tuple[StandInUpstream, Enclave],
) -> None:
    """Streams, whole answers, errors, thinking: one head, one size of chunks, a rounded count."""
    upstream, server = enclave
    cases: dict[str, tuple[Behaviour, Request, int]] = {
        "stream": (answering("word " * 100), chat_request(stream=True), 200),
        "whole": (answering("word " * 100), chat_request(), 200),
        "thinking": (slowly(0.3), chat_request(stream=True), 200),
        "models": (answering(), models_request(), 200),
        "wrong": (answering(), chat_request(temperature="hot"), 400),
        "wrong model": (answering(), chat_request(model="none", stream=True), 404),
        "no date": (answering(), Request(b"GET", b"https", b"", b"/v1/models"), 400),
        "upstream error": (sending(429, {"error": {}}), chat_request(stream=True), 429),
    }
    heads, shapes = set(), set()
    for name, (behaviour, request, status) in cases.items():
        upstream.behaviour = behaviour
        head, chunks, inner, content = ask(server, request)
        assert inner == status, (name, content)
        heads.add(re.sub(rb"date: [^\r]*", b"", head, flags=re.IGNORECASE))
        assert len(chunks) in SERIES, name
        sizes = [len(chunk) for chunk in chunks]
        assert sizes == [CHUNK_BYTES + NONCE_BYTES, *[CHUNK_BYTES] * (len(sizes) - 2), sizes[-1]]
        shapes.add(tuple(sizes[: SERIES[0] - 1]))
    assert len(heads) == len(shapes) == 1


def test_the_rhythm_of_the_words_does_not_show(
    enclave: tuple[StandInUpstream, Enclave],
) -> None:
    """Chunks come one by one, not in the bursts that the upstream makes."""
    upstream, server = enclave
    upstream.behaviour = answering("word " * 400)  # all at once: 20 chunks' worth
    data, reader = sealed(server.key_configs()[0], chat_request(stream=True))
    with connect(f"unix:{server.path}") as stream:
        begun = time.monotonic()
        stream.sendall(data)
        _, chunks = split(read_all(stream))
        elapsed = time.monotonic() - begun
    status, content = opened(chunks, reader)
    assert status == 200
    assert content.count(b'"content":"word "') == 400
    assert elapsed >= 0.1 * (len(chunks) - 2)


def test_without_padding_the_server_says_so() -> None:
    off = '[stream]\npadding = "off"\n'
    with (
        running_upstream(answering("a b c")) as upstream,
        running_enclave(off + stand_in_config(upstream.address)) as server,
    ):
        assert len(server.events("padding_off")) == 1
        _, chunks, status, content = ask(server, chat_request(stream=True))
        assert status == 200
        assert content.endswith(b"data: [DONE]\n\n")
        assert b"padding" not in content
        assert len({len(chunk) for chunk in chunks}) > 1


def test_with_padding_it_does_not(enclave: tuple[StandInUpstream, Enclave]) -> None:
    assert not enclave[1].events("padding_off")


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait until `condition` holds, and return for how long."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds
        time.sleep(0.01)
    return time.monotonic() - begun


@pytest.mark.parametrize("behaviour", [silent, streaming_without_end()], ids=["silent", "talking"])
def test_generation_stops_when_the_client_has_gone(
    behaviour: Behaviour,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Through relay and proxy, before the first word and in the middle of words."""
    with running_upstream(behaviour) as upstream:
        config = tmp_path / "config.toml"
        config.write_text(stand_in_config(upstream.address))
        with Stack(server_options=["--config", config]) as stack:
            configs = keys_of(stack.relay)
            data, _ = sealed(configs, chat_request(stream=True))
            with connect(stack.relay) as stream:
                stream.sendall(data)
                stream.recv(1)
                until(lambda: len(upstream.requests) == 1, DEADLINE)
                assert upstream.gone == 0
            record_property("seconds", until(lambda: upstream.gone == 1, STOP_SECONDS))


def keys_of(relay: str) -> KeyConfig:
    with ObliviousClient(relay, policy=TRIAL) as client:
        return client.evidence().key_configs[0]


class Flood:
    """An upstream that talks for as long as it is listened to, and counts the octets."""

    def __init__(self) -> None:
        self.octets = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        number = 0
        while True:
            piece = event(chunk_of({"content": f"<{number}>" + "x" * 20}))
            await exchange.chunk(piece)
            self.octets += len(piece)
            number += 1
            await asyncio.sleep(0)


def memory_kib(pid: int) -> int:
    """Return the memory that a process has and no file gave it."""
    # `smaps` would know more, and of a process that lets nobody look at it tells root alone.
    _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(resident) - int(shared)) * resource.getpagesize() // 1024


def test_slow_readers_take_little_memory_and_lose_nothing() -> None:
    flood = Flood()
    quick = "[stream]\ntick_milliseconds = 20\n"  # so that the kernel's buffers fill sooner
    with (
        private_directory() as folder,
        # Of a Unix socket the kernel keeps little; of a TCP connection megabytes on either side.
        running_upstream(flood, path=folder / "upstream.sock") as upstream,
        running_enclave(quick + stand_in_config(upstream.address)) as server,
        contextlib.ExitStack() as opened_streams,
    ):
        [worker] = server.worker_pids
        config = server.key_configs()[0]
        ask(server, models_request())  # what the first answer makes it load is nobody's
        before = memory_kib(worker)
        readers = []
        for _ in range(READERS):
            data, reader = sealed(config, chat_request(stream=True))
            stream = opened_streams.enter_context(connect(f"unix:{server.path}"))
            stream.sendall(data)
            readers.append((stream, reader))
        until(lambda: len(upstream.requests) == READERS, DEADLINE)
        settle(flood)
        assert memory_kib(worker) - before < READERS * READER_KIB
        assert flood.octets < READERS * 2_000_000  # the upstreams wait
        stream, reader = readers[0]
        assert_in_order(stream, reader, 2_000)


def settle(flood: Flood) -> None:
    """Return when no upstream has got rid of anything for a while."""
    deadline = time.monotonic() + DEADLINE
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 1.0:
        assert time.monotonic() < deadline
        if flood.octets != seen:
            seen, since = flood.octets, time.monotonic()
        time.sleep(0.1)


def assert_in_order(stream: socket.socket, reader: AnswerReader, count: int) -> None:
    """Read on until `count` words have come, and see that none is missing."""
    answer = http.client.HTTPResponse(stream)
    answer.begin()
    numbers: list[int] = []
    rest = b""
    while len(numbers) < count:
        piece = answer.read1(1 << 16)
        assert piece
        text = rest + b"".join(e for e in reader.feed(piece) if isinstance(e, bytes))
        complete, _, rest = text.rpartition(b"\n\n")
        numbers += [int(found) for found in re.findall(rb"<(\d+)>", complete)]
    assert numbers == list(range(len(numbers)))


def test_an_answer_streams_through_relay_and_proxy(tmp_path: Path) -> None:
    words = [f"word{number} " for number in range(60)]
    with running_upstream(answering("".join(words))) as upstream:
        config = tmp_path / "config.toml"
        config.write_text(stand_in_config(upstream.address))
        with (
            Stack(server_options=["--config", config]) as stack,
            reference_relay(stack.gateway) as relay,
            ObliviousClient(relay, policy=TRIAL) as client,
        ):
            streamed = client.stream("Hello", model="stand-in")
            assert [text for text in streamed if text] == words
            assert streamed.answer.text == "".join(words)
            assert client.chat("Hello", model="stand-in").text == "".join(words)
