"""OpenAI's own SDK over the transports: what works with it, and what it reports."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionToolParam
from openai.types.chat.chat_completion_chunk import (
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)
from pydantic import BaseModel

from oblivious_client.client import ObliviousClient
from oblivious_client.errors import AnswerTruncated, EvidenceRefused, ServiceError
from oblivious_client.policy import Policy, Simulated
from oblivious_client.route import Route
from oblivious_client.transport import AsyncObliviousTransport, ObliviousTransport
from tests.support.enclave import DEADLINE, running_enclave, running_upstream, stand_in_config
from tests.support.gateway import MODEL, PROBLEM, WORDS, Plain, StandInGateway
from tests.support.upstream import answering, completion, sending, stream_of, streaming
from tests.support.vector_files import load

ALLOWED = Policy(simulated=Simulated.ALLOWED)
ANSWER = "".join(WORDS)
ASKED: Any = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


class Place(BaseModel):
    city: str


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


# The SDK takes clients of httpx as well as of httpx2; its annotations name the latter only.


def sdk_of(relay: str, **options: Any) -> openai.OpenAI:
    http: Any = httpx.Client(transport=ObliviousTransport(relay, policy=ALLOWED))
    return openai.OpenAI(api_key="none", http_client=http, **options)


@pytest.fixture
def sdk(gateway: StandInGateway) -> Iterator[openai.OpenAI]:
    with sdk_of(gateway.url, max_retries=0) as client:
        yield client


def test_chat(sdk: openai.OpenAI, gateway: StandInGateway) -> None:
    answer = sdk.chat.completions.create(model=MODEL, messages=ASKED)
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage is not None
    assert answer.usage.total_tokens == 4
    assert answer.model_extra is not None
    assert "tee_signature" in answer.model_extra
    assert "stainless" not in repr(gateway.arrived).lower()
    assert "stainless" not in repr(gateway.chat.inner).lower()


def test_chat_streamed(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True) as stream:
        texts = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert [text for text in texts if text] == list(WORDS)


def test_the_sdk_does_not_hang_up_where_the_padding_begins(
    sdk: openai.OpenAI, gateway: StandInGateway
) -> None:
    gateway.chat.padding_after = 20
    with sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True) as stream:
        assert [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert gateway.chat.finished.wait(DEADLINE)
    assert not gateway.chat.abandoned.is_set()


def test_the_sdk_does_not_hang_up_at_an_error_that_it_tries_again(
    gateway: StandInGateway,
) -> None:
    gateway.chat.busy = 1
    with sdk_of(gateway.url, max_retries=1) as sdk:
        assert list(sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True))
    assert len(gateway.posts()) == 2
    assert gateway.chat.finished.wait(DEADLINE)
    assert not gateway.chat.abandoned.is_set()


def test_the_asynchronous_sdk_does_not_hang_up_at_an_error_either(gateway: StandInGateway) -> None:
    async def run() -> None:
        outer = AsyncObliviousTransport(gateway.url, policy=ALLOWED)
        http: Any = httpx.AsyncClient(transport=outer)
        async with openai.AsyncOpenAI(api_key="none", http_client=http, max_retries=1) as sdk:
            stream = await sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
            assert [chunk async for chunk in stream]

    gateway.chat.busy = 1
    asyncio.run(run())
    assert gateway.chat.finished.wait(DEADLINE)
    assert not gateway.chat.abandoned.is_set()


def test_the_sdk_does_not_hang_up_at_an_error_in_a_stream(
    sdk: openai.OpenAI, gateway: StandInGateway
) -> None:
    gateway.chat.events = [{"error": {"message": "The model's server failed."}}]
    gateway.chat.padding_after = 20
    stream = sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    with pytest.raises(openai.APIError, match="server failed"):
        list(stream)
    assert gateway.chat.finished.wait(DEADLINE)
    assert not gateway.chat.abandoned.is_set()


def test_the_stream_helper(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model=MODEL, messages=ASKED) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == ANSWER


def test_tools(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model=MODEL, messages=ASKED, tools=WEATHER)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_tools_streamed(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model=MODEL, messages=ASKED, tools=WEATHER) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Paris"}')


def test_structured_output(sdk: openai.OpenAI) -> None:
    parsed = sdk.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Place)
    assert parsed.choices[0].message.parsed == Place(city="Paris")


def test_completions_and_models(sdk: openai.OpenAI) -> None:
    assert sdk.completions.create(model=MODEL, prompt="The capital").choices[0].text == ANSWER
    stream = sdk.completions.create(model=MODEL, prompt="The capital", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == ANSWER
    assert [model.id for model in sdk.models.list()] == [MODEL]


def test_a_sealed_error_is_the_usual_one(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model other"):
        sdk.chat.completions.create(model="other", messages=ASKED)
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(model="other", messages=ASKED, stream=True)


def test_a_rotated_key_goes_unnoticed(sdk: openai.OpenAI, gateway: StandInGateway) -> None:
    sdk.models.list()
    gateway.rotate()
    assert sdk.chat.completions.create(model=MODEL, messages=ASKED).choices


def test_a_refusal_is_not_retried_and_comes_as_it_is(gateway: StandInGateway) -> None:
    http: Any = httpx.Client(transport=ObliviousTransport(gateway.url))  # accepts no simulation
    client = openai.OpenAI(api_key="none", http_client=http, max_retries=5)
    with client, pytest.raises(EvidenceRefused, match="simulated"):
        client.chat.completions.create(model=MODEL, messages=ASKED)
    assert len(gateway.arrived) == 1


def test_an_outer_error_is_a_connection_error(sdk: openai.OpenAI, gateway: StandInGateway) -> None:
    gateway.faults.outer = [Plain(503, PROBLEM, b"{}")]
    with pytest.raises(openai.APIConnectionError) as caught:
        sdk.chat.completions.create(model=MODEL, messages=ASKED)
    assert "503" in str(caught.value.__cause__)


def test_a_cut_stream_is_never_taken_for_the_whole(
    sdk: openai.OpenAI, gateway: StandInGateway
) -> None:
    gateway.faults.cut_after = 3
    stream = sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    with pytest.raises((AnswerTruncated, openai.APIConnectionError)):
        list(stream)
    gateway.faults.cut_after = 1
    with pytest.raises(openai.APIConnectionError):
        sdk.chat.completions.create(model=MODEL, messages=ASKED)


def test_the_asynchronous_sdk(gateway: StandInGateway) -> None:
    async def run() -> None:
        outer = AsyncObliviousTransport(gateway.url, policy=ALLOWED)
        http: Any = httpx.AsyncClient(transport=outer)
        async with openai.AsyncOpenAI(api_key="none", http_client=http) as client:
            create = client.chat.completions.create
            answer = await create(model=MODEL, messages=ASKED)
            assert answer.choices[0].message.content == ANSWER
            texts = [
                chunk.choices[0].delta.content or ""
                async for chunk in await create(model=MODEL, messages=ASKED, stream=True)
                if chunk.choices
            ]
            assert "".join(texts) == ANSWER
            async with client.chat.completions.stream(
                model=MODEL, messages=ASKED, tools=WEATHER
            ) as stream:
                final = await stream.get_final_completion()
            assert final.choices[0].message.tool_calls
            parsed = await client.chat.completions.parse(
                model=MODEL, messages=ASKED, response_format=Place
            )
            assert parsed.choices[0].message.parsed == Place(city="Paris")
            text = await client.completions.create(model=MODEL, prompt="The capital")
            assert text.choices[0].text == ANSWER
            assert [model.id async for model in client.models.list()] == [MODEL]
            with pytest.raises(openai.NotFoundError):
                await create(model="other", messages=ASKED)
            answers = await asyncio.gather(
                *(create(model=MODEL, messages=ASKED) for _ in range(10))
            )
            assert {each.choices[0].message.content for each in answers} == {ANSWER}

    asyncio.run(run())


# The real server, before stand-in upstreams and recorded ones.


def sdk_before(upstream: Any, opened: ExitStack) -> openai.OpenAI:
    running = opened.enter_context(running_upstream(upstream))
    enclave = opened.enter_context(running_enclave(stand_in_config(running.address)))
    transport = ObliviousTransport(gateway=f"unix:{enclave.path}", policy=ALLOWED)
    http: Any = httpx.Client(transport=transport)
    client = openai.OpenAI(api_key="none", http_client=http, max_retries=0)
    return opened.enter_context(client)


def test_the_real_server() -> None:
    with ExitStack() as opened:
        sdk = sdk_before(answering("Paris."), opened)
        answer = sdk.chat.completions.create(model=MODEL, messages=ASKED)
        assert answer.choices[0].message.content == "Paris."
        assert [model.id for model in sdk.models.list()] == [MODEL]
        with pytest.raises(openai.NotFoundError):
            sdk.chat.completions.create(model="other", messages=ASKED)
        with pytest.raises(openai.BadRequestError, match="temperature"):
            sdk.chat.completions.create(model=MODEL, messages=ASKED, temperature=99)


def test_the_real_server_and_a_wrong_clock() -> None:
    with ExitStack() as opened:
        enclave = opened.enter_context(running_enclave())
        client = opened.enter_context(
            ObliviousClient(gateway=f"unix:{enclave.path}", policy=ALLOWED)
        )
        client.evidence()
        client.transport.source.clock = lambda: time.time() + 1200
        with pytest.raises(ServiceError, match="clock"):
            client.models()


def test_the_real_server_started_again(tmp_path: Path) -> None:
    link = tmp_path / "gateway"
    with ObliviousClient(gateway=f"unix:{link}", policy=ALLOWED) as client:
        with running_enclave() as enclave:
            link.symlink_to(enclave.path)
            assert client.models() == [MODEL]
        link.unlink()
        with running_enclave() as enclave:  # another enclave with keys of its own
            link.symlink_to(enclave.path)
            assert client.models() == [MODEL]


def test_the_real_server_streams() -> None:
    with ExitStack() as opened:
        sdk = sdk_before(streaming(stream_of(WORDS)), opened)
        stream = sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        texts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert "".join(texts) == ANSWER


def test_the_real_server_answers_the_responses_api() -> None:
    with ExitStack() as opened:
        sdk = sdk_before(answering("Paris."), opened)
        answer = sdk.responses.create(model=MODEL, input="What is the capital of France?")
        assert (answer.output_text, answer.status) == ("Paris.", "completed")
        assert answer.model_extra is not None
        assert "tee_signature" in answer.model_extra
        with pytest.raises(openai.BadRequestError, match="nothing is kept here"):
            sdk.responses.create(model=MODEL, input="And?", previous_response_id=answer.id)


def test_the_real_server_streams_the_responses_api() -> None:
    with ExitStack() as opened:
        sdk = sdk_before(streaming(stream_of(WORDS)), opened)
        with sdk.responses.stream(model=MODEL, input="What is the capital of France?") as stream:
            texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
            assert "".join(texts) == stream.get_final_response().output_text == ANSWER


RECORDED = [
    sample for sample in load("llm-sse-streams.json")["samples"] if sample["api"] == "openai-chat"
]


@pytest.mark.parametrize("sample", RECORDED, ids=[sample["id"][:60] for sample in RECORDED])
def test_recorded_streams(sample: dict[str, Any]) -> None:
    recorded = sample["sse_text"].encode()
    with ExitStack() as opened:
        sdk = sdk_before(streaming([recorded[:100], recorded[100:]]), opened)
        stream = sdk.chat.completions.create(
            model=MODEL,
            messages=ASKED,
            tools=WEATHER,
            stream=True,
            stream_options={"include_usage": True},
        )
        # Not the SDK's own accumulator: it cannot take calls that are numbered from 1.
        choices = [choice for chunk in stream for choice in chunk.choices]
    expected = sample["summary"]["choices"]["0"]
    assert "".join(choice.delta.content or "" for choice in choices) == expected["text"]
    assert expected["finish"] in {choice.finish_reason for choice in choices}
    assert joined(part for choice in choices for part in choice.delta.tool_calls or ()) == [
        (call["id"], call["name"], call["arguments"]) for call in expected["tools"]
    ]


def joined(parts: Iterable[ChoiceDeltaToolCall]) -> list[tuple[str, str, str]]:
    calls: dict[int, list[str]] = {}
    for part in parts:
        call = calls.setdefault(part.index, ["", "", ""])
        function = part.function or ChoiceDeltaToolCallFunction()
        for place, text in enumerate((part.id, function.name, function.arguments)):
            call[place] += text or ""
    return [(call[0], call[1], call[2]) for _, call in sorted(calls.items())]


def test_the_real_server_returns_tool_calls() -> None:
    body = completion("")
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    body["choices"][0]["message"] = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    body["choices"][0]["finish_reason"] = "tool_calls"
    with ExitStack() as opened:
        sdk = sdk_before(sending(200, body), opened)
        answer = sdk.chat.completions.create(model=MODEL, messages=ASKED, tools=WEATHER)
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.arguments == '{"city":"Paris"}'


def test_embeddings_of_the_real_server() -> None:
    data = [{"object": "embedding", "index": i, "embedding": [0.5, -i]} for i in range(2)]
    answer = {"object": "list", "data": data, "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    with ExitStack() as opened:
        upstream = opened.enter_context(running_upstream(sending(200, answer)))
        config = stand_in_config(upstream.address)
        config = config.replace("[[models]]", "[[models]]\nembeddings = true")
        enclave = opened.enter_context(running_enclave(config))
        route = Route(gateway=f"unix:{enclave.path}", policy=ALLOWED)
        http: Any = opened.enter_context(httpx.Client(transport=ObliviousTransport(route)))
        sdk = openai.OpenAI(api_key="none", http_client=http, max_retries=0)
        vectors = [[0.5, 0.0], [0.5, -1.0]]
        made = sdk.embeddings.create(model=MODEL, input=["a", "b"])
        assert [item.embedding for item in made.data] == vectors
        client = opened.enter_context(ObliviousClient(route))
        assert client.embed([[1], [2]], model=MODEL).vectors == vectors
        with pytest.raises(openai.BadRequestError, match="makes embeddings alone"):
            sdk.chat.completions.create(model=MODEL, messages=ASKED)
        with pytest.raises(openai.BadRequestError, match="'input'"):
            sdk.embeddings.create(model=MODEL, input=[])
        assert json.loads(upstream.requests[0].body)["input"] == ["a", "b"]
