"""Streamed answers: recorded ones in any split, broken ones, slow readers, readers that leave."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat import transcript as streams
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.service import ChatService
from enclave_server.chat.streaming import EventStream
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.memory import Holding, Memory
from protocol.binary_http import Request, Response
from protocol.errors import SignatureInvalid
from protocol.event_stream import EventParser
from protocol.gateway import Delivery, StreamedResponse, settled
from protocol.signature import SigningKeys, verify_choices
from tests.support.upstream import (
    DONE,
    Behaviour,
    Exchange,
    StandInUpstream,
    chunk_of,
    event,
    sending,
    silent,
    stream_of,
    streaming,
    streaming_then_closing,
    streaming_without_end,
)

KEYS = SigningKeys.generate()
DEADLINE = 120.0  # seconds, so that nothing hangs
RECORDED = [
    sample
    for sample in json.loads(
        (Path(__file__).parents[2] / "vectors/llm-sse-streams.json").read_text()
    )["samples"]
    if sample["api"] == "openai-chat"
]


def service_for(
    upstream: StandInUpstream, memory: Memory | None = None, **changes: Any
) -> ChatService:
    address = parse_address(upstream.address)
    model = Model("m", Upstream("u", address, **changes), "name-there")
    return ChatService(ModelTable((model,)), lambda: KEYS, memory=memory)


def request(path: bytes = b"/v1/chat/completions", **fields: Any) -> Request:
    body: dict[str, Any] = {"model": "m", "stream": True, **fields}
    if path.endswith(b"/chat/completions"):
        body["messages"] = [{"role": "user", "content": "Hello"}]
    headers = ((b"content-type", b"application/json"),)
    return Request(b"POST", b"https", b"gateway", path, headers, json.dumps(body).encode())


async def open_stream(service: ChatService, asked: Request) -> EventStream:
    answer = await settled(service.dispatch(asked, Delivery.CHUNKED))
    assert isinstance(answer, StreamedResponse), answer
    assert answer.headers == ((b"content-type", b"text/event-stream"),)
    assert isinstance(answer.content, EventStream)
    return answer.content


def read(behaviour: Behaviour, asked: Request | None = None, **changes: Any) -> bytes:
    """Return the whole stream that an upstream with `behaviour` becomes."""

    async def scenario() -> bytes:
        async with StandInUpstream(behaviour) as upstream, asyncio.timeout(DEADLINE):
            service = service_for(upstream, **changes)
            content = await open_stream(service, asked or request())
            text = b"".join([piece async for piece in content])
            service.close()
        return text

    return asyncio.run(scenario())


def data_of(text: bytes) -> list[str]:
    assert text.endswith(b"\n\n")
    return [event.data for event in EventParser().feed(text)]


def complete(text: bytes) -> list[dict[str, Any]]:
    """Return the objects of a stream that ends as it should."""
    *objects, last = data_of(text)
    assert last == "[DONE]"
    return [json.loads(data) for data in objects]


def failed(text: bytes) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the objects before the error of a stream that ends with one, and the error."""
    *objects, last = [json.loads(data) for data in data_of(text)]
    assert b"tee_signature" not in text
    error: dict[str, Any] = last["error"]
    return objects, error


def assemble(objects: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the fragments as OpenAI's programs do; return the message of each choice."""
    choices: dict[int, dict[str, Any]] = {}
    for part in (part for item in objects for part in item["choices"]):
        blank: dict[str, Any] = {"content": "", "refusal": "", "calls": {}, "finish": None}
        message = choices.setdefault(part["index"], blank)
        message["finish"] = part["finish_reason"] or message["finish"]
        for member in ("content", "refusal"):
            message[member] += part["delta"].get(member) or ""
        for fragment in part["delta"].get("tool_calls") or ():
            call = message["calls"].setdefault(fragment["index"], {"function": {}})
            for member in ("id", "type"):
                if member in fragment:
                    call[member] = call.get(member, "") + fragment[member]
            for member, value in fragment["function"].items():
                call["function"][member] = call["function"].get(member, "") + value
    return [
        {
            **choices[index],
            "index": index,
            "finish_reason": choices[index]["finish"],
            "tool_calls": [call for _, call in sorted(choices[index]["calls"].items())],
        }
        for index in sorted(choices)
    ]


def check_signature(asked: Request, objects: Sequence[dict[str, Any]]) -> None:
    signed = [item for item in objects if "tee_signature" in item]
    assert signed == [objects[-1]]
    choices = assemble(objects)
    verify_choices(KEYS.public_keys, asked.content, choices, objects[-1])
    choices[0]["content"] += "x"
    with pytest.raises(SignatureInvalid):
        verify_choices(KEYS.public_keys, asked.content, choices, objects[-1])


def random_pieces(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted({rng.randrange(1, len(data)) for _ in range(rng.randrange(1, 60))})
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def counted(usage: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a provider's count."""
    kept = {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    if details := usage.get("completion_tokens_details"):
        kept["completion_tokens_details"] = {"reasoning_tokens": details["reasoning_tokens"]}
    return kept


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("sample", RECORDED, ids=lambda sample: sample["id"])
def test_recorded_stream_in_random_splits(sample: dict[str, Any], end: str) -> None:
    rng = random.Random(sample["id"] + end)
    data = sample["sse_text"].replace("\n", end).encode()
    asked = request(stream_options={"include_usage": True})
    text = read(streaming(random_pieces(data, rng)), asked)
    objects = complete(text)
    check_signature(asked, objects)
    (message,) = assemble(objects)
    (recorded,) = sample["summary"]["choices"].values()
    assert (message["content"], message["finish"]) == (recorded["text"], recorded["finish"])
    calls = [{"id": c["id"], **c["function"]} for c in message["tool_calls"]]
    assert calls == recorded["tools"]
    usage = sample["summary"]["usage"]
    assert [item["usage"] for item in objects if "usage" in item] == (
        [counted(usage)] if usage else []
    )
    for secret in (b"fp_", b"obfuscation", b"cached_tokens", b"service_tier", b"gpt-", b"claude"):
        assert secret not in text
    assert {item["id"] for item in objects} == {objects[0]["id"]}
    assert all(item["model"] == "m" for item in objects)


async def awaited(content: EventStream) -> bytes:
    return await anext(content)


async def collected(content: EventStream) -> bytes:
    while not (text := content.collect()):
        await asyncio.sleep(0)
    return text


def collect(behaviour: Behaviour, asked: Request | None = None, **changes: Any) -> bytes:
    """Return the same as `read`, asked for now and then until it is ending."""

    async def scenario() -> bytes:
        async with StandInUpstream(behaviour) as upstream, asyncio.timeout(DEADLINE):
            service = service_for(upstream, **changes)
            content = await open_stream(service, asked or request())
            text = b""
            while not content.is_ending:
                text += content.collect()
                await asyncio.sleep(0.001)
            text += b"".join([piece async for piece in content])
            service.close()
        return text

    return asyncio.run(scenario())


@pytest.mark.parametrize("sample", RECORDED, ids=lambda sample: sample["id"])
def test_stream_that_is_collected_is_the_same(sample: dict[str, Any]) -> None:
    pieces = random_pieces(sample["sse_text"].encode(), random.Random(sample["id"]))
    asked = request(stream_options={"include_usage": True})
    collected = complete(collect(streaming(pieces), asked))
    check_signature(asked, collected)
    awaited = complete(read(streaming(pieces), asked))
    assert [item["choices"] for item in collected] == [item["choices"] for item in awaited]


def test_events_that_have_come_are_collected_together() -> None:
    async def scenario() -> None:
        one_piece = b"".join(stream_of(["a", "b", "c"]))
        async with StandInUpstream(streaming([one_piece])) as upstream, asyncio.timeout(DEADLINE):
            service = service_for(upstream)
            content = await open_stream(service, request())
            deltas = [
                json.loads(data)["choices"][0]["delta"]
                for data in data_of(await collected(content))
            ]
            assert deltas[1:] == [{"content": "a"}, {"content": "b"}, {"content": "c"}]
            assert content.is_ending
            assert data_of(await anext(content))[-1] == "[DONE]"
            await content.aclose()
            service.close()

    asyncio.run(scenario())


def test_recorded_stream_through_a_connection_that_is_kept() -> None:
    async def scenario() -> None:
        data = RECORDED[0]["sse_text"].encode()
        async with StandInUpstream(streaming([data])) as upstream:
            service = service_for(upstream)
            for _ in range(3):
                content = await open_stream(service, request())
                assert [piece async for piece in content][-1].endswith(DONE)
            service.close()
        assert (upstream.connections, len(upstream.requests)) == (1, 3)

    asyncio.run(scenario())


def test_every_event_has_a_choice_unless_usage_is_wanted() -> None:
    """Programs read `chunk.choices[0]` without looking."""
    events = [event(chunk_of({}, usage={"prompt_tokens": 1}, choices=[])), *stream_of(["a", "b"])]
    objects = complete(read(streaming(events)))
    assert all(item["choices"] for item in objects)
    assert objects[-1]["choices"][0]["finish_reason"] == "stop"
    check_signature(request(), objects)


def test_usage_comes_as_its_own_last_event_wherever_it_was() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    events = stream_of(["a"])
    events[-2] = event(chunk_of({}, "stop", usage=usage))
    asked = request(stream_options={"include_usage": True, "include_obfuscation": False})
    objects = complete(read(streaming(events), asked))
    assert (objects[-1]["choices"], objects[-1]["usage"]) == ([], usage)
    assert objects[-2]["choices"][0]["finish_reason"] == "stop"
    check_signature(asked, objects)


def test_several_choices_are_signed_together() -> None:
    def part(index: int, word: str | None, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": {"content": word}, "finish_reason": finish}
        return event(chunk_of({}, choices=[choice]))

    events = [part(1, "b"), part(0, "a"), part(0, None, "stop"), part(1, "c"), part(1, "d", "stop")]
    asked = request(n=2)
    objects = complete(read(streaming([*events, DONE]), asked))
    assert [message["content"] for message in assemble(objects)] == ["a", "bcd"]
    check_signature(asked, objects)


def test_a_refusal_and_an_end_that_the_upstream_left_out_are_signed() -> None:
    def part(index: int, **delta: str) -> bytes:
        return event({"choices": [{"index": index, "delta": delta}]})

    pieces = [part(0, refusal="I ca"), part(1, content="b"), part(0, refusal="n't."), DONE]
    asked = request(n=2)
    objects = complete(read(streaming(pieces), asked))
    check_signature(asked, objects)
    refused, _ = assemble(objects)
    assert (refused["refusal"], refused["finish_reason"]) == ("I can't.", "stop")


def test_completion_stream_is_signed() -> None:
    def part(text: str, finish: str | None = None) -> bytes:
        return event({"choices": [{"index": 0, "text": text, "finish_reason": finish}]})

    asked = request(b"/v1/completions", prompt="a")
    objects = complete(read(streaming([part("b"), part("c"), part("", "length"), DONE]), asked))
    assert [item["choices"][0]["text"] for item in objects] == ["b", "c", ""]
    assert objects[0]["object"] == "text_completion"
    choices = [{"index": 0, "text": "bc", "finish_reason": "length"}]
    verify_choices(KEYS.public_keys, asked.content, choices, objects[-1])


def test_repeated_identifiers_of_a_tool_call_are_sent_once() -> None:
    def part(arguments: str) -> bytes:
        function = {"name": "f", "arguments": arguments}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        return event(chunk_of({"tool_calls": [call]}))

    events = [part('{"a"'), part(":1}"), event(chunk_of({}, "tool_calls")), DONE]
    objects = complete(read(streaming(events)))
    (message,) = assemble(objects)
    function = {"name": "f", "arguments": '{"a":1}'}
    assert message["tool_calls"] == [{"id": "call_1", "type": "function", "function": function}]
    check_signature(request(), objects)


def test_comments_and_errors_that_are_none_leave_no_events() -> None:
    events = [
        b": ping\n\n",
        event(chunk_of({"role": "assistant", "content": ""})),
        event(chunk_of({"content": "a"}, "stop", error=None)),
        DONE,
    ]
    assert len(complete(read(streaming(events)))) == 2


def test_missing_done_is_forgiven_after_the_last_choice() -> None:
    check_signature(request(), complete(read(streaming(stream_of(["a"])[:-1]))))


def test_missing_finish_is_forgiven_before_done() -> None:
    events = [*stream_of(["a"])[:-2], DONE]
    objects = complete(read(streaming(events)))
    assert objects[-1]["choices"][0]["finish_reason"] == "stop"
    check_signature(request(), objects)


def test_more_after_the_finish_is_passed_on() -> None:
    events = [*stream_of(["a"])[:-1], event(chunk_of({"content": "b"})), DONE]
    objects = complete(read(streaming(events)))
    assert assemble(objects)[0]["content"] == "ab"
    check_signature(request(), objects)


WORDS = stream_of(["a", "b"])
MALFORMED: dict[str, tuple[Behaviour, str]] = {
    "ends too early": (streaming(WORDS[:-2]), "upstream_failed"),
    "ends at once": (streaming([]), "upstream_failed"),
    "nothing but the end": (streaming([DONE]), "upstream_failed"),
    "one choice of two is missing": (streaming(WORDS[:-1]), "upstream_failed"),
    "closes in mid-answer": (streaming_then_closing(WORDS[:-2]), "upstream_failed"),
    "closes in mid-event": (
        streaming_then_closing([*WORDS[:2], b'data: {"cho']),
        "upstream_failed",
    ),
    "not JSON": (streaming([*WORDS[:2], b"data: Hello\n\n"]), "upstream_failed"),
    "not an object": (streaming([*WORDS[:2], b"data: 5\n\n"]), "upstream_failed"),
    "wrong types": (streaming([*WORDS[:2], b'data: {"choices":[5]}\n\n']), "upstream_failed"),
    "endless event": (
        streaming([b"data: " + b"x" * 65536] + [b"x" * 65536] * 70),
        "upstream_failed",
    ),
    "a choice too many": (
        streaming([*WORDS[:2], event(chunk_of({}, choices=[{"index": 2}])), *WORDS[2:]]),
        "upstream_failed",
    ),
    "a choice before the first": (
        streaming([*WORDS[:2], event(chunk_of({}, choices=[{"index": -1}])), *WORDS[2:]]),
        "upstream_failed",
    ),
    "error object": (
        streaming([*WORDS[:2], event({"error": {"message": "org-operator", "code": "x"}})]),
        "upstream_failed",
    ),
    "overloaded": (streaming([*WORDS[:2], event({"error": {"code": 503}})]), "overloaded"),
    "error as text": (streaming([*WORDS[:2], event({"error": "org-operator"})]), "upstream_failed"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_failure_in_mid_stream_is_an_error_event_without_done(case: str) -> None:
    behaviour, code = MALFORMED[case]
    text = read(behaviour, request(n=2))
    _, error = failed(text)
    assert error["code"] == code
    assert b"org-operator" not in text


@pytest.mark.parametrize("case", MALFORMED)
def test_failure_is_the_same_to_who_collects(case: str) -> None:
    behaviour, code = MALFORMED[case]
    objects, error = failed(collect(behaviour, request(n=2)))
    assert error["code"] == code
    awaited, _ = failed(read(behaviour, request(n=2)))
    assert [item["choices"] for item in objects] == [item["choices"] for item in awaited]


def test_what_came_before_a_failure_is_passed_on() -> None:
    one_piece = b"".join([*WORDS[:3], b"data: Hello\n\n"])
    objects, _ = failed(read(streaming([one_piece])))
    assert assemble(objects)[0]["content"] == "ab"


def test_stream_that_stops_is_slow() -> None:
    async def stop(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        await exchange.chunk(WORDS[1])
        await exchange.wait_gone()

    for way in (read, collect):
        objects, error = failed(way(stop, total_seconds=2))
        assert assemble(objects)[0]["content"] == "a"
        assert error["code"] == "upstream_timeout"


def test_answer_without_limit_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_ANSWER_BYTES", 10_000)
    _, error = failed(read(streaming_without_end("word " * 100)))
    assert error["code"] == "upstream_failed"


def test_calls_without_limit_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little they say: each is kept, and so is each of its fragments."""
    monkeypatch.setattr(streams, "MAX_ANSWER_BYTES", 10_000)
    for indices in (range(300), [0] * 300):
        calls = [event(chunk_of({"tool_calls": [{"index": index}]})) for index in indices]
        events = [*calls, event(chunk_of({}, "tool_calls")), DONE]
        _, error = failed(read(streaming(events)))
        assert error["code"] == "upstream_failed"


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (sending(429, b"{}"), 429),
        (sending(500, b"{}"), 502),
        (sending(200, b"{}"), 502),
        (silent, 504),
    ],
)
def test_failure_before_the_stream_is_a_whole_answer(behaviour: Behaviour, status: int) -> None:
    async def scenario() -> None:
        async with StandInUpstream(behaviour) as upstream, asyncio.timeout(DEADLINE):
            patience = 0.1 if behaviour is silent else DEADLINE
            service = service_for(upstream, first_byte_seconds=patience)
            answer = await settled(service.dispatch(request(), Delivery.CHUNKED))
            assert isinstance(answer, Response)
            assert answer.status == status
            service.close()

    asyncio.run(scenario())


def test_chunked_delivery_without_a_stream_is_a_whole_answer() -> None:
    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            service = service_for(upstream)
            answer = await settled(service.dispatch(request(stream=False), Delivery.CHUNKED))
            assert isinstance(answer, Response)
            assert answer.status == 200
            service.close()

    asyncio.run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("pieces", [0, 1, 5])
def test_closed_stream_closes_the_upstream_connection(pieces: int) -> None:
    async def scenario() -> None:
        async with StandInUpstream(streaming_without_end()) as upstream:
            service = service_for(upstream)
            content = await open_stream(service, request())
            for _ in range(pieces):
                await anext(content)
            await content.aclose()
            await until(lambda: upstream.gone == 1)
            with pytest.raises(StopAsyncIteration):
                await anext(content)

    asyncio.run(scenario())


def test_cancelled_reader_closes_the_upstream_connection() -> None:
    async def stall(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        await exchange.wait_gone()

    async def scenario() -> None:
        async with StandInUpstream(stall) as upstream:
            content = await open_stream(service_for(upstream), request())

            async def reader() -> bytes:
                return await anext(content)

            task = asyncio.ensure_future(reader())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: upstream.gone == 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("take", [awaited, collected])
def test_slow_readers_slow_their_upstream(
    take: Callable[[EventStream], Awaitable[bytes]], tmp_path: Path
) -> None:
    """Two hundred readers take one event and pause: the upstream must stall, not fill memory."""
    readers = 200
    sent: list[int] = []

    async def flood(exchange: Exchange) -> None:
        number = len(sent)
        sent.append(0)
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        piece = event(chunk_of({"content": "word " * 800}))
        while True:
            await exchange.chunk(piece)
            sent[number] += len(piece)
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with StandInUpstream(flood, path=tmp_path / "upstream.sock") as upstream:
            service = service_for(upstream)
            streams = [await open_stream(service, request()) for _ in range(readers)]
            for content in streams:
                await take(content)
            before = -1
            while sum(sent) != before:
                before = sum(sent)
                await asyncio.sleep(0.2)
            # What is under way is in the kernel's buffers and in two reads of ours.
            assert max(sent) < 1024 * 1024
            taken = [await take(content) for content in streams[:5] for _ in range(200)]
            assert all(piece.startswith(b"data: ") for piece in taken)
            await until(lambda: sum(sent) > before)
            for content in streams:
                await content.aclose()

    asyncio.run(scenario())


def test_what_is_kept_of_a_stream_is_held_until_its_end() -> None:
    async def scenario() -> None:
        memory = Memory()
        async with StandInUpstream(streaming(stream_of(["word "] * 50))) as upstream:
            service = service_for(upstream, memory)
            content = await open_stream(service, request())
            await anext(content)
            assert memory.held > 50
            async for _ in content:
                pass
            assert memory.held == 0
            given_up = await open_stream(service, request())
            await anext(given_up)
            await given_up.aclose()
            assert memory.held == 0
            service.close()

    asyncio.run(scenario())


def test_a_stream_without_end_stops_where_there_is_no_more_room() -> None:
    async def scenario() -> None:
        memory = Memory(1 << 20, 10)
        Holding(memory).hold(1 << 20)
        async with StandInUpstream(streaming_without_end("word " * 1000)) as upstream:
            service = service_for(upstream, memory)
            content = await open_stream(service, request())
            async with asyncio.timeout(DEADLINE):
                text = b"".join([piece async for piece in content])
            assert b'"overloaded"' in text.split(b"data: ")[-1]
            assert b"tee_signature" not in text
            assert memory.held == 1 << 20
            service.close()

    asyncio.run(scenario())
