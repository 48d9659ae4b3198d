"""Paced answers: one size, one rhythm, whatever is said; nothing lost, nothing left running."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial

import pytest

from enclave_server.gateway import ticker
from enclave_server.gateway.pacing import (
    TURN_BYTES,
    WAITING_CHUNKS,
    Closable,
    Pacer,
    Shape,
    unpadded,
)
from enclave_server.gateway.routes import Pacer as AnyPacer
from enclave_server.memory import Holding, Memory
from protocol.binary_http import (
    Event,
    Informational,
    Request,
    Response,
    ResponseDecoder,
    ResponseHead,
    encode_request,
)
from protocol.chunked import ResponseOpener, encapsulate_request
from protocol.encapsulation import GatewayKey
from protocol.gateway import Answer, Delivery, Gateway, StreamedResponse
from protocol.shaping import GeometricSeries

KEY = GatewayKey.generate(1)
SERIES = GeometricSeries(3, 1.5)
SHAPE = Shape(tick_seconds=0.01, chunk_bytes=256, series=SERIES)
EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)
JSON = ((b"content-type", b"application/json"),)
DEADLINE = 120.0

Respond = Callable[[], Awaitable[Answer]]


@dataclass(slots=True)
class Read:
    """An answer as its client saw it: the sealed chunks, and what was in them."""

    sizes: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def head(self) -> ResponseHead:
        return next(event for event in self.events if isinstance(event, ResponseHead))

    @property
    def content(self) -> bytes:
        return b"".join(event for event in self.events if isinstance(event, bytes))

    @property
    def data(self) -> list[bytes]:
        """What an SSE parser takes from the content, which holds comments too."""
        blocks = self.content.split(b"\n\n")
        return [block.removeprefix(b"data: ") for block in blocks if block.startswith(b"data")]


@dataclass(slots=True)
class Source:
    """Content that counts how far it was read, and notes that it was closed."""

    pieces: list[bytes]
    seconds_between: float = 0.0
    failure: Exception | None = None
    taken: int = 0
    closed: bool = False

    def __aiter__(self) -> "Source":
        return self

    async def __anext__(self) -> bytes:
        if self.seconds_between:
            await asyncio.sleep(self.seconds_between)
        if self.taken < len(self.pieces):
            self.taken += 1
            return self.pieces[self.taken - 1]
        if self.failure is not None:
            raise self.failure
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True

    async def respond(self) -> Answer:
        return StreamedResponse(200, EVENTS, self)


@dataclass(slots=True)
class Gathering:
    """A source that is asked: it has `rate` pieces at a time, and the last one is awaited."""

    pieces: list[bytes]
    rate: int = 2
    failure: Exception | None = None
    is_ending: bool = False
    asked: int = 0
    taken: int = 0
    closed: bool = False

    def collect(self) -> bytes:
        assert not self.is_ending
        self.asked += 1
        if self.failure is not None and self.taken:
            raise self.failure
        begin, self.taken = self.taken, min(self.taken + self.rate, len(self.pieces) - 1)
        self.is_ending = self.taken == len(self.pieces) - 1
        return b"".join(self.pieces[begin : self.taken])

    def __aiter__(self) -> "Gathering":
        return self

    async def __anext__(self) -> bytes:
        assert self.is_ending
        if self.taken == len(self.pieces):
            raise StopAsyncIteration
        self.taken = len(self.pieces)
        return self.pieces[-1]

    async def aclose(self) -> None:
        self.closed = True

    async def respond(self) -> Answer:
        return StreamedResponse(200, EVENTS, self)


def open_exchange(
    pacer: AnyPacer, respond: Respond, report: Callable[[Exception], None] = lambda _: None
) -> tuple[AsyncIterator[bytes], ResponseOpener]:
    """Return the sealed chunks of the answer to one request, and what opens them."""

    async def dispatch(_: Request, __: Delivery) -> Answer:
        return await respond()

    sealer, context = encapsulate_request(KEY.config)
    request = sealer.finish(encode_request(Request(b"GET", b"https", b"", b"/")))
    gateway = Gateway(lambda: [KEY], dispatch, report=report)
    return pacer(gateway.open_chunked(request)), context.open_response()


async def read(chunks: AsyncIterator[bytes], opener: ResponseOpener) -> Read:
    """Read an answer to its end, which must verify."""
    seen, decoder = Read(), ResponseDecoder()
    async for chunk in chunks:
        seen.sizes.append(len(chunk))
        for piece in opener.feed(chunk):
            seen.events += decoder.feed(piece)
    seen.events += decoder.feed(opener.finish())
    seen.events += decoder.finish()
    return seen


def pacer(reports: list[Exception] | None = None, shape: Shape = SHAPE) -> Pacer:
    kept = [] if reports is None else reports
    return Pacer(shape, kept.append)


def run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE):
            await scenario()

    asyncio.run(limited())


def answer(respond: Respond, reports: list[Exception] | None = None) -> Read:
    """Return the whole answer, read by somebody who keeps up."""
    seen: list[Read] = []

    async def scenario() -> None:
        seen.append(await read(*open_exchange(pacer(reports), respond)))

    run(scenario)
    return seen[0]


def assert_shaped(seen: Read) -> None:
    """All chunks have one size, the first with the response nonce; the count is of the series."""
    first, *rest = seen.sizes
    assert len(set(rest[:-1])) == 1
    assert first == rest[0] + 32
    # The final chunk says so instead of its length, which takes two octets.
    assert rest[-1] == rest[0] - 1
    assert SERIES.reach(len(seen.sizes)) == len(seen.sizes)


def events(count: int, size: int = 40) -> list[bytes]:
    return [b"data: " + b"%d" % number * size + b"\n\n" for number in range(count)]


async def refuse() -> Answer:
    return Response(404, JSON, b'{"error":1}')


async def refuse_late() -> Answer:
    await asyncio.sleep(0.1)
    return Response(500, JSON, b'{"error":1}')


async def fail() -> Answer:
    raise RuntimeError("nobody's business")


async def say_little() -> Answer:
    return Response(200, JSON, b"{}")


async def say_much() -> Answer:
    return Response(200, JSON, json.dumps({"text": "word " * 500}).encode())


CASES = {
    "early error": refuse,
    "late error": refuse_late,
    "fault": fail,
    "short": say_little,
    "long": say_much,
    "stream": Source(events(20), 0.005).respond,
    "burst": Source(events(200)).respond,
    "thinking": Source(events(1), 0.15).respond,
    "failing": Source(events(3), 0.01, RuntimeError("broken")).respond,
    "gathering": Gathering(events(20)).respond,
    "gathered burst": Gathering(events(200), rate=100).respond,
}

ASKED = ("gathering", "gathered burst")


def test_all_outcomes_begin_alike() -> None:
    """Success, early and late errors, silence, bursts: the same sizes for as long as they last."""
    traces = {name: answer(respond) for name, respond in CASES.items()}
    for seen in traces.values():
        assert_shaped(seen)
    shortest = min(len(seen.sizes) for seen in traces.values())
    assert shortest == SERIES.first
    beginnings = {tuple(seen.sizes[: shortest - 1]) for seen in traces.values()}
    assert len(beginnings) == 1


@pytest.mark.parametrize(
    ("name", "status"),
    [("early error", 404), ("late error", 500), ("fault", 500), ("short", 200), ("long", 200)],
)
def test_answers_in_one_piece(name: str, status: int) -> None:
    seen = answer(CASES[name])
    assert seen.head.status == status
    json.loads(seen.content)
    before = seen.events[: seen.events.index(seen.head)]
    assert all(isinstance(event, Informational) and event.status == 102 for event in before)


def test_a_stream_arrives_whole_and_in_order() -> None:
    source = Source(events(100))
    seen = answer(source.respond)
    assert seen.head == ResponseHead(200, EVENTS)
    assert seen.data == [event[6:-2] for event in source.pieces]
    assert source.closed


def test_streams_tick_together_whatever_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of each at every tick of the one clock, whenever it begins, until it has ended."""
    dues: list[float] = []
    wait_until = ticker._wait_until

    def watched(due: float) -> None:
        dues.append(due)
        wait_until(due)

    monkeypatch.setattr(ticker, "_wait_until", watched)

    async def ticks_of(paced: Pacer, respond: Respond, begins: float) -> list[int]:
        await asyncio.sleep(begins)
        chunks, _ = open_exchange(paced, respond)
        return [len(dues) async for _ in chunks]

    async def scenario() -> None:
        paced = pacer()
        sources = Source(events(20), 0.005), Source(events(200)), Source(events(1), 0.15)
        asked = Gathering(events(20)), Gathering(events(200), rate=100)
        responds = [refuse, refuse_late, fail, say_much]
        responds += [source.respond for source in (*sources, *asked)]
        streams = (ticks_of(paced, each, 0.003 * place) for place, each in enumerate(responds))
        for ticks in await asyncio.gather(*streams):
            assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))

    run(scenario)
    counts = [due / SHAPE.tick_seconds for due in dues]
    assert counts == pytest.approx([round(count) for count in counts], rel=0, abs=1e-3)
    assert counts == sorted(set(counts))


def test_a_source_that_can_be_asked_is_asked_at_the_ticks() -> None:
    source = Gathering(events(40))
    seen = answer(source.respond)
    assert seen.data == [event[6:-2] for event in source.pieces]
    assert source.closed
    assert source.asked == 20
    assert len(seen.sizes) > source.asked
    assert_shaped(seen)


def test_nothing_that_was_asked_waits_for_another_tick() -> None:
    async def scenario() -> None:
        source = Gathering(events(40))
        chunks, opener = open_exchange(pacer(), source.respond)
        decoder = ResponseDecoder()
        content = b""
        for _ in range(10):
            for piece in opener.feed(await anext(chunks)):
                content += b"".join(e for e in decoder.feed(piece) if isinstance(e, bytes))
            assert content.count(b"data: ") == source.taken
        await close(chunks)
        assert source.closed

    run(scenario)


def test_a_source_that_fails_when_asked_ends_with_an_error_event() -> None:
    reports: list[Exception] = []
    source = Gathering(events(9), failure=RuntimeError("broken"))
    seen = answer(source.respond, reports)
    assert seen.data[:2] == [b"0" * 40, b"1" * 40]
    assert json.loads(seen.data[2])["error"]["type"] == "server_error"
    assert reports == [source.failure]
    assert source.closed
    assert_shaped(seen)


def test_an_end_is_seen_to_when_all_chunks_of_the_tick_are_out() -> None:
    """It may take a signature: the chunks of other streams must not be late because of it."""
    order: list[str] = []

    class Ending(Gathering):
        def collect(self) -> bytes:
            order.append("asked")
            return super().collect()

        async def __anext__(self) -> bytes:
            order.append("awaited")
            return await super().__anext__()

    async def note(name: str, chunks: AsyncIterator[bytes]) -> None:
        async for _ in chunks:
            order.append(name)

    async def scenario() -> None:
        paced = pacer()
        ending, _ = open_exchange(paced, Ending(events(2)).respond)
        other, _ = open_exchange(paced, Source(events(5), 0.01).respond)
        await asyncio.gather(note("ending", ending), note("other", other))

    run(scenario)
    asked = order.index("asked")
    assert order[asked : asked + 4] == ["asked", "ending", "other", "awaited"]


def test_a_source_is_not_asked_while_enough_waits() -> None:
    async def scenario() -> None:
        source = Gathering(events(100_000), rate=100)
        chunks, opener = open_exchange(pacer(), source.respond)
        for ticks in range(1, 30):
            opener.feed(await anext(chunks))
            size = len(source.pieces[0])
            burst = source.rate * (size + 3)
            assert source.taken * size <= (WAITING_CHUNKS + ticks) * SHAPE.chunk_bytes + burst
        await close(chunks)

    run(scenario)


def test_thinking_looks_like_nothing_else() -> None:
    thought = asyncio.Event()
    seen: list[Read] = []

    async def think() -> AsyncIterator[bytes]:
        await thought.wait()
        yield events(1)[0]

    async def respond() -> Answer:
        return StreamedResponse(200, EVENTS, think())

    async def counted(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        number = 0
        async for chunk in chunks:
            number += 1
            if number == 8:
                thought.set()
            yield chunk

    async def scenario() -> None:
        chunks, opener = open_exchange(pacer(), respond)
        seen.append(await read(counted(chunks), opener))

    run(scenario)
    assert seen[0].data == [b"0" * 40]
    assert len(seen[0].sizes) >= 12
    assert_shaped(seen[0])


def test_a_stream_that_breaks_off_ends_with_an_error_event() -> None:
    reports: list[Exception] = []
    failure = RuntimeError("broken")
    source = Source([*events(2), b"data: unfinished"], failure=failure)
    seen = answer(source.respond, reports)
    assert seen.data[:2] == [b"0" * 40, b"1" * 40]
    assert seen.data[2] == b"unfinished"
    assert json.loads(seen.data[3])["error"]["type"] == "server_error"
    assert reports == [failure]
    assert source.closed
    assert_shaped(seen)


def test_an_event_that_never_ends_breaks_off() -> None:
    reports: list[Exception] = []
    shape = Shape(0.01, 16384, SERIES)
    seen: list[Read] = []

    async def scenario() -> None:
        source = Source([bytes(1 << 19)] * 4)
        seen.append(await read(*open_exchange(pacer(reports, shape), source.respond)))

    run(scenario)
    assert seen[0].content.rstrip().endswith(b'"code":null}}')
    assert isinstance(reports[0], ValueError)


async def words() -> AsyncIterator[bytes]:
    for word in (b"one ", b"two ", b"three"):
        yield word


async def broken_words() -> AsyncIterator[bytes]:
    yield b"one "
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("content", "status", "text"), [(words, 200, b"one two three"), (broken_words, 500, None)]
)
def test_pieces_that_are_no_events_come_as_one(
    content: Callable[[], AsyncIterator[bytes]], status: int, text: bytes | None
) -> None:
    async def respond() -> Answer:
        return StreamedResponse(200, JSON, content())

    seen = answer(respond)
    assert seen.head.status == status
    assert text is None or seen.content == text
    assert_shaped(seen)


def test_a_fault_of_ours_does_not_go_on_as_padding() -> None:
    async def respond() -> Answer:
        return StreamedResponse(99, EVENTS, Source([]))

    async def scenario() -> None:
        chunks, opener = open_exchange(pacer(), respond)
        with pytest.raises(ValueError, match="status"):
            await read(chunks, opener)

    run(scenario)


def test_a_reader_that_does_not_read_holds_the_source_back() -> None:
    async def scenario() -> None:
        source = Source(events(10_000))
        chunks, opener = open_exchange(pacer(), source.respond)
        opener.feed(await anext(chunks))
        await asyncio.sleep(0.1)  # ten ticks that nobody asks for
        taken = source.taken
        size = len(source.pieces[0])
        assert taken * size <= (WAITING_CHUNKS + 3) * SHAPE.chunk_bytes
        for _ in range(8):
            opener.feed(await anext(chunks))
        await asyncio.sleep(0)
        assert source.taken > taken  # it goes on when there is room
        await close(chunks)
        assert source.closed

    run(scenario)


async def close(chunks: AsyncIterator[bytes]) -> None:
    """Close what `routes` gets, which the server closes the same way."""
    aclose = getattr(chunks, "aclose", None)
    assert aclose is not None
    await aclose()


@pytest.mark.parametrize("ticks", [0, 1, 4])
def test_a_reader_that_leaves_ends_the_source_at_once(ticks: int) -> None:
    async def scenario() -> None:
        source = Source(events(10_000), 0.001)
        chunks, _ = open_exchange(pacer(), source.respond)
        for _ in range(ticks):
            await anext(chunks)
        await close(chunks)
        taken = source.taken
        await asyncio.sleep(0.05)
        assert source.taken == taken
        assert source.closed or not ticks

    run(scenario)


def test_a_reader_that_leaves_while_nothing_is_known_ends_the_asking() -> None:
    async def scenario() -> None:
        asked, ended = asyncio.Event(), asyncio.Event()

        async def respond() -> Answer:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError("never")

        chunks, opener = open_exchange(pacer(), respond)
        reader = asyncio.ensure_future(read(chunks, opener))
        await asked.wait()
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader
        assert ended.is_set()

    run(scenario)


@pytest.mark.parametrize("respond", [refuse, say_little, fail])
def test_nothing_is_sent_before_it_may_begin_and_meanwhile_it_is_asked(respond: Respond) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        asked: list[float] = []

        async def noted() -> Answer:
            asked.append(loop.time())
            return await respond()

        begins = loop.time() + 5 * SHAPE.tick_seconds
        made = pacer()
        chunks, opener = open_exchange(partial(made, begins=begins), noted)
        first = await anext(chunks)
        assert loop.time() >= begins > asked[0]
        assert opener.feed(first)
        await close(chunks)

    run(scenario)


def test_many_streams_keep_apart() -> None:
    async def scenario() -> None:
        paced = pacer()
        sources = [Source([b"data: %d\n\n" % number] * 5, 0.002) for number in range(50)]
        seen = await asyncio.gather(
            *(read(*open_exchange(paced, source.respond)) for source in sources)
        )
        for number, one in enumerate(seen):
            assert one.data == [b"%d" % number] * 5

    run(scenario)


@pytest.mark.parametrize("name", [name for name in CASES if name not in {"failing", *ASKED}])
def test_without_padding_everything_arrives_as_it_comes(name: str) -> None:
    sources = {
        "stream": Source(events(20)),
        "burst": Source(events(200)),
        "thinking": Source(events(1)),
    }
    respond = sources[name].respond if name in sources else CASES[name]

    async def scenario() -> None:
        seen = await read(*open_exchange(unpadded, respond))
        assert seen.head.status in (200, 404, 500)
        if name in sources:
            assert seen.content == b"".join(sources[name].pieces)
            assert sources[name].closed

    run(scenario)


@pytest.mark.parametrize("taken", [1, 2])
def test_without_padding_a_reader_that_leaves_closes_the_source(taken: int) -> None:
    async def scenario() -> None:
        source = Source([b"one", b"two"])
        chunks, _ = open_exchange(unpadded, source.respond)
        for _ in range(taken):
            await anext(chunks)
        assert isinstance(chunks, Closable)
        await chunks.aclose()
        assert source.closed

    run(scenario)


def test_a_whole_answer_is_held_for_as_long_as_its_ticks_take() -> None:
    """Today's worst: fourteen megabytes that stay for six minutes."""

    async def scenario() -> None:
        memory = Memory()
        timed = Pacer(SHAPE, lambda _: None, memory)
        chunks, _ = open_exchange(timed, say_much)
        await anext(chunks)
        while not memory.held:
            await anext(chunks)
        assert memory.held > 2 * 2500
        assert isinstance(chunks, AsyncGenerator)
        await chunks.aclose()
        assert memory.held == 0
        await read(*open_exchange(timed, say_much))
        assert memory.held == 0

    run(scenario)


def test_a_whole_answer_without_room_is_refused_inside() -> None:
    async def scenario() -> None:
        memory = Memory(2000, 10)
        Holding(memory).hold(2000)
        timed = Pacer(SHAPE, lambda _: None, memory)
        seen = await read(*open_exchange(timed, say_much))
        assert seen.head.status == 503
        assert_shaped(seen)
        assert (await read(*open_exchange(timed, say_little))).head.status == 200

    run(scenario)


def test_a_whole_answer_without_the_clock_is_held_until_it_is_taken() -> None:
    async def scenario() -> None:
        memory = Memory(6000, 10)
        chunks, _ = open_exchange(partial(unpadded, memory=memory), say_much)
        await anext(chunks)
        assert memory.held > 2 * 2500
        late = await read(*open_exchange(partial(unpadded, memory=memory), say_much))
        assert late.head.status == 503
        await anext(chunks)
        assert memory.held == 0

    run(scenario)


@pytest.mark.parametrize("size", [TURN_BYTES, 2 * TURN_BYTES + 1])
def test_without_padding_a_long_answer_is_sealed_in_pieces_and_whole(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def say() -> Answer:
        return Response(200, (), content)

    async def scenario() -> None:
        chunks, opener = open_exchange(unpadded, say)
        seen = await read(chunks, opener)
        assert seen.content == content

    run(scenario)
