"""Asking an upstream: the fields, the key, and which answers are taken."""

import asyncio
import json
from typing import Any

import pytest

from enclave_server.chat.asking import ANSWER_COPIES, Upstreams, write_request
from enclave_server.chat.conversation import Answer, Conversation, Message
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_chat.answers import read_answer
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.preparing import Job, prepare
from enclave_server.memory import Holding, Memory
from tests.support.chat_service import chat
from tests.support.upstream import Behaviour, StandInUpstream, answering, completion, sending
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
