"""Asking an upstream: the fields, the key, and which answers are taken."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from enclave_server.chat.asking import ANSWER_COPIES, Upstreams, write_request
from enclave_server.chat.conversation import (
    Answer,
    ChoiceDelta,
    Conversation,
    Delta,
    Event,
    Message,
)
from enclave_server.chat.dialects.dialect import Account, StreamReader
from enclave_server.chat.dialects.openai_chat.answers import read_answer
from enclave_server.chat.errors import ChatError, Failure, UpstreamError
from enclave_server.chat.joining import decode_joined
from enclave_server.chat.large import (
    EVENT_COPIES,
    LARGE_BYTES,
    Outside,
    decode_slice,
    encode_slices,
)
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.overrun import CHARACTERS_PER_TOKEN
from enclave_server.chat.preparing import Job, prepare
from enclave_server.chat.spoken import Spoken
from enclave_server.chat.surfaces.surface import Signature
from enclave_server.memory import Holding, Memory
from tests.support.chat_service import chat
from tests.support.upstream import (
    Behaviour,
    Exchange,
    StandInUpstream,
    answering,
    completion,
    sending,
    stream_of,
    streaming,
    streaming_without_end,
)
from tests.support.upstream_connection import upstream_at

DEADLINE = 120.0  # seconds, so that nothing hangs
JOB = Job(b"/v1/chat/completions", json.dumps(chat()).encode(), may_stream=False)
QUESTION = Conversation(model="m", messages=[Message("user", "Hello")])


def ask(
    behaviour: Behaviour, holding: Holding | None = None, **changes: Any
) -> tuple[Answer, StandInUpstream]:
    async def scenario() -> tuple[Answer, StandInUpstream]:
        async with StandInUpstream(behaviour) as upstream, asyncio.timeout(DEADLINE):
            model = Model("m", upstream_at(upstream.address, **changes), "there")
            upstreams = Upstreams(ModelTable((model,)))
            try:
                taken = holding or Holding(Memory())
                account = upstreams.account(model.upstream.name)
                request = write_request(QUESTION, model, account or Account())
                said = await upstreams.ask(model, Conversation, request).whole(taken)
                return read_answer(Conversation, said), upstream
            finally:
                upstreams.close()

    return asyncio.run(scenario())


def test_account_is_named_after_its_key() -> None:
    settings = {"project": "p", "organization": "o"}
    _, upstream = ask(answering(), key=lambda: "k", account=lambda: settings)
    assert list(upstream.requests[0].fields.items())[5:] == [
        ("authorization", "Bearer k"),
        ("openai-organization", "o"),
        ("openai-project", "p"),
        ("content-length", str(len(upstream.requests[0].body))),
    ]


def test_prefix_is_the_upstream_s() -> None:
    _, upstream = ask(answering(), path_prefix="/openai/v2")
    assert upstream.requests[0].target == "/openai/v2/chat/completions"


def test_without_its_key_nobody_is_asked() -> None:
    model = Model("m", upstream_at("unix:/x", key=lambda: None), "there")
    upstreams = Upstreams(ModelTable((model,)))
    assert upstreams.accounts() == {model.upstream.name: None}
    with pytest.raises(UpstreamError) as caught:
        prepare(ModelTable((model,)), JOB, upstreams.account)
    assert caught.value.failure is Failure.NO_KEY


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON;charset=utf-8"])
def test_answer_of_the_right_type_is_taken(media_type: str) -> None:
    answer, _ = ask(sending(200, completion("x"), f"Content-Type: {media_type}"))
    assert answer.choices[0].message.content == "x"


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        (sending(200, completion("x"), "Content-Type: text/event-stream"), Failure.BROKEN),
        (sending(201, completion("x")), Failure.BROKEN),
        (sending(429, {}), Failure.LIMITED),
    ],
)
def test_anything_else_is_a_failure(behaviour: Behaviour, failure: Failure) -> None:
    with pytest.raises(UpstreamError) as caught:
        ask(behaviour)
    assert caught.value.failure is failure


def test_dialect_that_is_unknown_is_a_value_error() -> None:
    model = Model("m", upstream_at("unix:/x", dialect="none"), "there")
    with pytest.raises(ValueError, match="no dialect"):
        Upstreams(ModelTable((model,)))


def test_a_whole_answer_is_held_while_it_is_read_and_made() -> None:
    memory = Memory()
    holding = Holding(memory)
    answer, _ = ask(answering("word " * 20_000), holding=holding)
    content = answer.choices[0].message.content
    assert content is not None
    assert memory.held > ANSWER_COPIES * len(content)
    holding.give_back()
    assert memory.held == 0


def test_an_answer_without_room_is_not_read_on() -> None:
    """A request of a kilobyte that makes megabytes of an answer: so many of them, and no more."""
    memory = Memory(1 << 20, 10)
    Holding(memory).hold(1 << 20)
    with pytest.raises(UpstreamError) as caught:
        ask(answering("word " * 200_000), holding=Holding(memory))
    assert caught.value.failure is Failure.BUSY
    assert (b"retry-after", b"5") in caught.value.fields
    assert ask(answering(), holding=Holding(memory))[0].choices  # its share is everybody's


def joined(
    behaviour: Behaviour,
    outside: Outside | None = None,
    paid_tokens: int | None = None,
    memory: Memory | None = None,
) -> Answer:
    """Return a whole answer that is asked for as a stream."""

    async def scenario() -> Answer:
        async with StandInUpstream(behaviour) as upstream, asyncio.timeout(DEADLINE):
            model = Model("m", upstream_at(upstream.address), "there")
            upstreams = Upstreams(ModelTable((model,)))
            question = msgspec.structs.replace(QUESTION, stream=True)
            request = write_request(question, model, Account())
            asking = upstreams.ask(model, Conversation, request, 1, paid_tokens)
            try:
                return decode_joined(await asking.whole(Holding(memory or Memory()), outside))
            finally:
                upstreams.close()

    return asyncio.run(scenario())


def text_in(answer: Answer) -> tuple[str | None, str | None]:
    (choice,) = answer.choices
    return choice.message.content, choice.finish_reason


def test_a_stream_is_joined_to_its_end() -> None:
    assert text_in(joined(streaming(stream_of(["Par", "is."])))) == ("Paris.", "stop")


def test_what_runs_far_beyond_what_was_paid_for_is_cut_and_not_waited_for() -> None:
    long = joined(streaming_without_end("x" * CHARACTERS_PER_TOKEN), paid_tokens=2)
    assert text_in(long) == ("x" * 3 * CHARACTERS_PER_TOKEN, "length")
    short = joined(streaming(stream_of(["Par", "is."])), paid_tokens=1)
    assert text_in(short) == ("Paris.", "stop")


LARGE = "x" * (LARGE_BYTES + 1)


class Elsewhere:
    """Reads a large event as two slices, or as a slice and a fault; notes who had a turn."""

    def __init__(self, fault: ChatError | None = None) -> None:
        self._fault = fault
        self.turns: list[str] = []

    async def read(
        self, reader: StreamReader, octets: bytes
    ) -> tuple[Sequence[bytes], ChatError | None]:
        assert LARGE.encode() in octets
        asyncio.get_running_loop().call_soon(self.turns.append, "another")
        said = [Event([ChoiceDelta(0, Delta(content=text))]) for text in ("one", "two")]
        return [octets for each in said for octets in encode_slices(each)], self._fault

    async def sign(self, choices: Sequence[Spoken]) -> Signature:
        raise NotImplementedError


def test_a_large_event_is_read_elsewhere_and_joined_slice_by_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = Elsewhere()

    def noting(data: bytes) -> Event:
        elsewhere.turns.append("slice")
        return decode_slice(data)

    monkeypatch.setattr("enclave_server.chat.asking.decode_slice", noting)
    answer = joined(streaming(stream_of(["a", LARGE, "b"])), elsewhere)
    assert text_in(answer) == ("aonetwob", "stop")
    # Between two slices everybody else has a turn.
    assert elsewhere.turns == ["slice", "another", "slice"]


def test_a_fault_that_is_found_elsewhere_is_the_answers() -> None:
    with pytest.raises(UpstreamError) as caught:
        joined(streaming(stream_of(["a", LARGE])), Elsewhere(UpstreamError(Failure.BUSY)))
    assert caught.value.failure is Failure.BUSY


def test_with_nobody_elsewhere_a_large_event_is_read_here() -> None:
    assert text_in(joined(streaming(stream_of(["a", LARGE])))) == ("a" + LARGE, "stop")


def test_a_large_event_counts_with_its_copies_while_it_is_read_elsewhere() -> None:
    memory, held = Memory(), list[int]()

    class Noting(Elsewhere):
        async def read(
            self, reader: StreamReader, octets: bytes
        ) -> tuple[Sequence[bytes], ChatError | None]:
            held.append(memory.held)
            return await super().read(reader, octets)

    joined(streaming(stream_of(["a", LARGE])), Noting(), memory=memory)
    assert held[0] > EVENT_COPIES * LARGE_BYTES


def test_a_connection_is_used_again_whose_stream_was_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What ends the message of HTTP comes a moment after what ends the answer."""
    monkeypatch.setattr("enclave_server.chat.upstream.connections.END_SECONDS", DEADLINE)

    async def haltingly(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        await exchange.chunk(b"".join(stream_of(["Paris."])))
        await asyncio.sleep(0.02)
        await exchange.chunk(b"")

    async def scenario() -> None:
        async with StandInUpstream(haltingly) as upstream, asyncio.timeout(DEADLINE):
            model = Model("m", upstream_at(upstream.address), "there")
            upstreams = Upstreams(ModelTable((model,)))
            request = write_request(
                msgspec.structs.replace(QUESTION, stream=True), model, Account()
            )
            for _ in range(2):
                await upstreams.ask(model, Conversation, request, 1).whole(Holding(Memory()))
            assert upstream.connections == 1
            ((connections, _),) = upstreams._ways.values()
            assert len(connections._idle) == 1
            upstreams.close()
            assert connections._idle == []

    asyncio.run(scenario())
