"""Streams with events of megabytes, and long answers: what is large is done elsewhere, in order."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat.elsewhere import do
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.profiles import PLAIN
from enclave_server.chat.service import ChatService
from enclave_server.chat.streaming import EventStream
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.memory import Holding, Memory
from protocol.binary_http import Request, Response
from protocol.gateway import Delivery, StreamedResponse, settled
from protocol.signature import SigningKeys, verify_choices
from tests.enclave_server.chat.test_streaming import assemble, complete, failed
from tests.support.upstream import (
    DONE,
    StandInUpstream,
    chunk_of,
    event,
    streaming,
)

KEYS = SigningKeys.generate()
DEADLINE = 120.0  # seconds, so that nothing hangs
LONG = "word \N{GRINNING FACE}" * 20_000
CHAT, RESPONSES, MESSAGES = b"/v1/chat/completions", b"/v1/responses", b"/v1/messages"


class Elsewhere:
    """Does all in this process, and notes what was asked; it can be held up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.held_up: asyncio.Event | None = None
        self.waiting = asyncio.Event()

    async def __call__(self, job: bytes) -> bytes:
        work = msgspec.msgpack.decode(job)
        self.asked.append(work["type"])
        if self.held_up is not None:
            self.waiting.set()
            await self.held_up.wait()
        return do(ModelTable(()), KEYS, job)


def request(path: bytes = CHAT, **fields: Any) -> Request:
    body: dict[str, Any] = {"model": "m", "stream": True, **fields}
    if path == RESPONSES:
        body["input"] = "Hello"
    elif path.endswith(b"/completions") and path != CHAT:
        body["prompt"] = "Hello"
    else:
        body["messages"] = [{"role": "user", "content": "Hello"}]
    if path == MESSAGES:
        body["max_tokens"] = 100
    headers = ((b"content-type", b"application/json"),)
    return Request(b"POST", b"https", b"gateway", path, headers, json.dumps(body).encode())


def service_for(
    upstream: StandInUpstream,
    elsewhere: Elsewhere | None,
    memory: Memory | None = None,
    **more: Any,
) -> ChatService:
    model = Model("m", Upstream("u", parse_address(upstream.address)), "name-there", **more)
    return ChatService(ModelTable((model,)), lambda: KEYS, memory=memory, elsewhere=elsewhere)


async def opened(service: ChatService, asked: Request) -> EventStream:
    answer = await settled(service.dispatch(asked, Delivery.CHUNKED))
    assert isinstance(answer, StreamedResponse), answer
    assert isinstance(answer.content, EventStream)
    return answer.content


def read(
    pieces: Sequence[bytes],
    asked: Request,
    elsewhere: Elsewhere | None = None,
    *,
    collects: bool = False,
) -> list[bytes]:
    async def scenario() -> list[bytes]:
        async with StandInUpstream(streaming(list(pieces))) as upstream:
            async with asyncio.timeout(DEADLINE):
                memory = Memory()
                service = service_for(upstream, elsewhere, memory)
                content = await opened(service, asked)
                told = []
                while collects and not content.is_ending:
                    told.append(content.collect())
                    await asyncio.sleep(0)
                told += [piece async for piece in content]
                assert memory.held == 0
                service.close()
                return told

    return asyncio.run(scenario())


def choice(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


CALL = {
    "index": 0,
    "id": "c",
    "function": {"name": "f", "arguments": '{"a":"' + "b" * 90_000 + '"}'},
}
AMONG = [
    event(chunk_of({}, choices=[choice(content="before ")])),
    event(chunk_of({}, choices=[choice(content=LONG)])),
    event(chunk_of({}, choices=[choice(content=" between ")])),
    event(chunk_of({}, choices=[choice(content=str(number) + " ") for number in range(9000)])),
    event(chunk_of({}, choices=[choice(tool_calls=[CALL])])),
    event(chunk_of({}, choices=[choice(content=" after", finish="tool_calls")])),
    DONE,
]
SPOKEN = f"before {LONG} between {''.join(f'{n} ' for n in range(9000))} after"


@pytest.mark.parametrize("collects", [False, True])
def test_a_large_event_among_small_ones_keeps_its_place(collects: bool) -> None:
    elsewhere, asked = Elsewhere(), request()
    objects = complete(b"".join(read(AMONG, asked, elsewhere, collects=collects)))
    assert elsewhere.asked == ["large", "large", "large", "ended"]
    (said,) = assemble(objects)
    assert said["content"] == SPOKEN
    assert said["tool_calls"][0]["function"] == CALL["function"]
    verify_choices(KEYS.public_keys, asked.content, assemble(objects), objects[-1])


def test_what_is_read_elsewhere_says_what_is_read_here() -> None:
    there, here = (
        [*map(assemble, [complete(b"".join(read(AMONG, request(), how)))])]
        for how in (Elsewhere(), None)
    )
    assert there == here


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, b"/v1/completions"])
def test_no_turn_tells_much_of_a_large_event(path: bytes) -> None:
    """Each piece that comes out was made in a turn of its own."""
    pieces = [event({"choices": [choice(content="word " * 100_000) | {"text": "word " * 100_000}]})]
    pieces += [event({"choices": [choice(finish="stop") | {"text": ""}]}), DONE]
    elsewhere = Elsewhere()
    told = read(pieces, request(path), elsewhere)
    assert elsewhere.asked == ["large", "ended"]
    text = b"".join(told)
    assert text.count(b"word ") >= 100_000
    assert b"tee_signature" in text
    ends = 4 if path == RESPONSES else 0  # the text as a whole, each time in a turn of its own
    assert len([piece for piece in told if len(piece) > 100_000]) <= ends
    assert max(map(len, told)) < 600_000


def test_small_events_and_short_answers_go_nowhere() -> None:
    elsewhere = Elsewhere()
    pieces = [event(chunk_of({"content": "w" * 60_000})), event(chunk_of({}, "stop")), DONE]
    complete(b"".join(read(pieces, request(), elsewhere)))
    assert elsewhere.asked == []


def test_a_long_answer_of_small_events_is_signed_elsewhere() -> None:
    elsewhere, asked = Elsewhere(), request()
    pieces = [event(chunk_of({"content": "w" * 9_000})) for _ in range(9)]
    objects = complete(
        b"".join(read([*pieces, event(chunk_of({}, "stop")), DONE], asked, elsewhere))
    )
    assert elsewhere.asked == ["ended"]
    verify_choices(KEYS.public_keys, asked.content, assemble(objects), objects[-1])


def test_a_long_call_that_cannot_be_read_is_found_out_elsewhere() -> None:
    elsewhere = Elsewhere()
    cut = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":"' + "b" * 90_000}}
    pieces = [event(chunk_of({"tool_calls": [cut]})), event(chunk_of({}, "tool_calls")), DONE]
    _, error = failed(b"".join(read(pieces, request(), elsewhere)))
    assert error["code"] == "tool_use_failed"
    assert elsewhere.asked == ["large", "ended"]


def test_a_fault_in_a_large_event_is_the_stream_s() -> None:
    elsewhere = Elsewhere()
    large = event({"choices": [], "filler": "x" * 70_000, "error": {"code": 503}})
    text = b"".join(read([*AMONG[:2], large, *AMONG[2:]], request(), elsewhere))
    objects, error = failed(text)
    assert assemble(objects)[0]["content"] == f"before {LONG}"
    assert error["code"] == "overloaded"


def test_an_end_of_whoever_reads_is_the_stream_s() -> None:
    class Ended(Elsewhere):
        async def __call__(self, job: bytes) -> bytes:
            raise ChatError(503, "This could not be read.", kind="server_error")

    _, error = failed(b"".join(read(AMONG, request(), Ended())))
    assert error["message"] == "This could not be read."


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_hang_up_meanwhile_gives_back_the_memory(at_the_end: bool) -> None:
    async def scenario() -> None:
        pieces = AMONG[:2]
        if at_the_end:
            pieces = [event(chunk_of({"content": "w" * 60_000}))] * 2
            pieces += [event(chunk_of({}, "stop")), DONE]
        elsewhere, memory = Elsewhere(), Memory()
        elsewhere.held_up = asyncio.Event()
        async with StandInUpstream(streaming(pieces)) as upstream, asyncio.timeout(DEADLINE):
            service = service_for(upstream, elsewhere, memory)
            content = await opened(service, request())

            async def listen() -> None:
                async for _ in content:
                    pass

            task = asyncio.create_task(listen())
            await elsewhere.waiting.wait()
            assert memory.held > 100_000
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert memory.held == 0
            # Others have their turn.
            elsewhere.held_up = None
            again = await opened(service, request())
            assert [piece async for piece in again]
            service.close()

    asyncio.run(scenario())


def test_an_event_for_which_there_is_no_room_is_one_too_many() -> None:
    async def scenario() -> None:
        # There is room for the event as it came, and none for its copies.
        elsewhere, memory = Elsewhere(), Memory(4 << 20, 10)
        Holding(memory).hold(2 << 20)
        large = event(chunk_of({"content": "w" * 700_000}))
        async with StandInUpstream(streaming([large])) as upstream, asyncio.timeout(DEADLINE):
            service = service_for(upstream, elsewhere, memory)
            content = await opened(service, request())
            text = b"".join([piece async for piece in content])
            assert failed(text)[1]["code"] == "overloaded"
            assert elsewhere.asked == []
            assert memory.held == 2 << 20
            service.close()

    asyncio.run(scenario())


def test_a_joined_answer_has_its_large_events_read_elsewhere() -> None:
    async def scenario() -> bytes:
        async with StandInUpstream(streaming(AMONG)) as upstream, asyncio.timeout(DEADLINE):
            service = service_for(upstream, elsewhere, profile=replace(PLAIN, streams_always=True))
            answer = await settled(service.dispatch(request(stream=False), Delivery.CHUNKED))
            assert isinstance(answer, Response)
            service.close()
            return answer.content

    class Finishing(Elsewhere):
        async def __call__(self, job: bytes) -> bytes:
            if msgspec.msgpack.decode(job)["type"] != "said":
                return await super().__call__(job)
            self.asked.append("said")
            model = Model("m", Upstream("u", parse_address("unix:/nowhere")), "name-there")
            return do(ModelTable((model,)), KEYS, job)

    elsewhere = Finishing()
    body = json.loads(asyncio.run(scenario()))
    assert elsewhere.asked == ["large", "large", "large", "said"]
    message = body["choices"][0]["message"]
    assert message["content"] == SPOKEN
    assert message["tool_calls"][0]["function"] == CALL["function"]
