"""The two clients and their streams: the same promises, each in its own manner alone."""

import asyncio
import json
import re
from collections.abc import Iterator

import httpx
import pytest

import oblivious_client
from oblivious_client import (
    AnswerUnproven,
    AsyncChatStream,
    AsyncObliviousClient,
    ChatStream,
    Framing,
    ObliviousClient,
    Policy,
    Route,
    ServiceError,
    Simulated,
)
from oblivious_client.client import ANSWER_SECONDS, TIMEOUT, chat_body, evidence_of
from oblivious_client.fetching import CONNECT_SECONDS
from tests.support.gateway import MODEL, WORDS, StandInGateway

ALLOWED = Policy(simulated=Simulated.ALLOWED)


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


def test_all_that_is_exported_is_there() -> None:
    assert sorted(oblivious_client.__all__) == oblivious_client.__all__
    assert all(hasattr(oblivious_client, name) for name in oblivious_client.__all__)


def test_a_client_takes_a_whole_route(gateway: StandInGateway) -> None:
    route = Route(gateway.url, policy=ALLOWED, framing=Framing.WHOLE)
    with ObliviousClient(route) as client:
        assert client.transport.route is route
        assert client.chat("Hi", model=MODEL).text == "".join(WORDS)
    assert gateway.posts()[0].field("content-type") == "message/ohttp-req"


def test_a_stream_has_its_answer_at_its_end(gateway: StandInGateway) -> None:
    with ObliviousClient(gateway.url, policy=ALLOWED) as client:
        stream = client.stream("Hi", model=MODEL)
        with pytest.raises(ValueError, match="has not ended"):
            _ = stream.answer
        assert "".join(stream) == stream.answer.text == "".join(WORDS)
        assert stream.evidence == stream.answer.evidence == client.evidence()
        assert client.models() == [MODEL]


def test_an_asynchronous_stream_has_its_answer_at_its_end(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            stream = await client.stream("Hi", model=MODEL)
            with pytest.raises(ValueError, match="has not ended"):
                _ = stream.answer
            texts = [text async for text in stream]
            assert "".join(texts) == stream.answer.text == "".join(WORDS)
            assert stream.evidence == stream.answer.evidence == await client.evidence()
            assert await client.models() == [MODEL]

    asyncio.run(run())


def test_streams_yield_the_first_choice_alone(gateway: StandInGateway) -> None:
    choices = [
        {"index": index, "delta": {"content": text}} for index, text in enumerate(("one", "other"))
    ]
    data = b"data: " + json.dumps({"choices": choices}).encode() + b"\n\ndata: [DONE]\n\n"
    with ObliviousClient(gateway.url, policy=ALLOWED) as client:
        extensions = {"oblivious_evidence": client.evidence()}
    texts: list[str] = []

    def answer() -> httpx.Response:
        return httpx.Response(200, content=data, extensions=extensions)

    async def run() -> None:
        async for text in AsyncChatStream(b"{}", answer()):
            texts.append(text)

    with pytest.raises(AnswerUnproven):
        texts.extend(ChatStream(b"{}", answer()))
    with pytest.raises(AnswerUnproven):
        asyncio.run(run())
    assert texts == ["one", "one"]


def test_neither_stream_can_be_used_as_the_other() -> None:
    assert not issubclass(AsyncChatStream, ChatStream)
    assert not {"__iter__", "close"} & set(dir(AsyncChatStream))
    assert not {"__aiter__", "aclose"} & set(dir(ChatStream))


def test_an_error_in_place_of_a_whole_answer_is_the_services(gateway: StandInGateway) -> None:
    with ObliviousClient(gateway.url, policy=ALLOWED) as client:
        with pytest.raises(ServiceError) as caught:
            client.chat("Hi", model="no-such-model")
        assert caught.value.status == 404

    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            with pytest.raises(ServiceError) as caught:
                await client.chat("Hi", model="no-such-model")
            assert caught.value.status == 404

    asyncio.run(run())


def test_an_error_before_a_stream_is_the_services(gateway: StandInGateway) -> None:
    with ObliviousClient(gateway.url, policy=ALLOWED) as client, pytest.raises(ServiceError):
        client.stream("Hi", model="no-such-model")

    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            with pytest.raises(ServiceError):
                await client.stream("Hi", model="no-such-model")

    asyncio.run(run())


def test_the_body_is_compact_and_utf8() -> None:
    body = chat_body("Grüße", "m", {"temperature": 0})
    assert body == (
        '{"model":"m","messages":[{"role":"user","content":"Grüße"}],"temperature":0}'.encode()
    )


def test_only_answers_of_the_transports_have_evidence() -> None:
    with pytest.raises(TypeError):
        evidence_of(httpx.Response(200, extensions={"oblivious_evidence": 1}))


def test_a_list_of_models_that_is_refused_is_an_error() -> None:
    refusing = httpx.MockTransport(
        lambda _: httpx.Response(503, json={"error": {"message": "not just now"}})
    )
    with ObliviousClient("https://relay.example", policy=ALLOWED) as client:
        client._http = httpx.Client(transport=refusing)
        with pytest.raises(ServiceError, match="not just now"):
            client.models()

    async def run() -> None:
        async with AsyncObliviousClient("https://relay.example", policy=ALLOWED) as client:
            client._http = httpx.AsyncClient(transport=refusing)
            with pytest.raises(ServiceError, match="not just now"):
                await client.models()

    asyncio.run(run())


def test_a_model_that_thinks_long_is_waited_for_longer_than_a_connection() -> None:
    timeout = TIMEOUT.as_dict()
    assert (timeout["connect"], timeout["read"]) == (CONNECT_SECONDS, ANSWER_SECONDS)
    assert CONNECT_SECONDS < ANSWER_SECONDS


def test_embeddings_are_verified_in_either_encoding(gateway: StandInGateway) -> None:
    async def run() -> list[list[float]]:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            return (await client.embed("abc", model=MODEL)).vectors

    with ObliviousClient(gateway.url, policy=ALLOWED) as client:
        numbers = client.embed(["a", "abc"], model=MODEL)
        texts = client.embed(["a", "abc"], model=MODEL, encoding_format="base64")
        assert b"abc" in numbers.request
        assert not re.search(r"abc|0\.1", repr(numbers))  # it may be logged
        assert numbers.vectors == texts.vectors == [pytest.approx([1, 0.1]), *asyncio.run(run())]
        assert numbers.signed.version == 2
        assert isinstance(texts.body["data"][0]["embedding"], str)
        with pytest.raises(ServiceError, match="no model other"):
            client.embed("a", model="other")
        gateway.faults.signature = lambda fields: {**fields, "tee_timestamp": 1}
        with pytest.raises(AnswerUnproven, match="of the embeddings"):
            client.embed("a", model=MODEL)
