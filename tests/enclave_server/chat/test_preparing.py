"""What becomes of a request before its upstream is asked."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.embedding import Wanted
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.preparing import SURFACES, Job, find_model, prepare
from enclave_server.chat.profiles import PLAIN
from enclave_server.chat.recoder import Expected
from tests.support.chat_service import HELLO, NOWHERE, TABLE, chat

ACCOUNT = Account("key", {"project": "p"})
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
TAKEN: dict[str, tuple[bytes, dict[str, Any]]] = {
    "chat": (b"/v1/chat/completions", chat()),
    "stream": (b"/v1/chat/completions", chat(stream=True, stream_options={"include_usage": True})),
    "schema": (b"/v1/chat/completions", chat(response_format=SCHEMA, n=2)),
    "any character": (
        b"/v1/chat/completions",
        chat(messages=[{"role": "user", "content": "\0\N{GRINNING FACE}\\"}]),
    ),
    "prompts": (b"/v1/completions", {"model": "m", "prompt": [[1, 2], [3]]}),
}


def job(path: bytes, body: dict[str, Any], *, may_stream: bool = True) -> Job:
    return Job(path, json.dumps(body).encode(), may_stream)


def test_who_asks_for_a_model_that_there_is_not_is_told_which_there_are() -> None:
    with pytest.raises(ChatError) as caught:
        find_model(TABLE, "other")
    assert caught.value.status == 404
    assert "'other' does not exist here. There are: m, plain, e." in caught.value.message
    many = ModelTable(tuple(Model(f"m{number}", NOWHERE, "there") for number in range(1000)))
    with pytest.raises(ChatError) as caught:
        find_model(many, "other")
    assert "m19." in caught.value.message
    assert "m20" not in caught.value.message


def test_stream_needs_the_chunked_media_type() -> None:
    wanted = job(b"/v1/chat/completions", chat(stream=True), may_stream=False)
    with pytest.raises(ChatError) as caught:
        prepare(TABLE, wanted, lambda name: ACCOUNT)
    assert caught.value.param == "stream"


def test_the_model_s_instructions_come_first_unless_there_are_some() -> None:
    table = ModelTable((Model("m", NOWHERE, "there", system_prompt="Be kind."),))
    instructed = [{"role": "system", "content": "Be brief."}, *HELLO]
    for messages, first in ((HELLO, "Be kind."), (instructed, "Be brief.")):
        wanted = job(b"/v1/chat/completions", chat(messages=messages))
        body = json.loads(prepare(table, wanted, lambda name: ACCOUNT).request.body)
        assert body["messages"][0] == {"role": "system", "content": first}


def sent(model: Model, **fields: Any) -> Any:
    """Return what the upstream of `model` is asked."""
    wanted = job(b"/v1/chat/completions", chat(**fields))
    return json.loads(prepare(ModelTable((model,)), wanted, lambda name: ACCOUNT).request.body)


def test_what_a_model_does_anyway_is_not_asked_of_it() -> None:
    fixed = Model("m", NOWHERE, "there", profile=replace(PLAIN, temperature="none"))
    assert sent(fixed, temperature=1, top_p=1, seed=1).keys() == {"model", "messages", "seed"}
    thoughtless = Model("m", NOWHERE, "there", reasoning=False)
    assert "reasoning_effort" not in sent(thoughtless, reasoning_effort="none")
    assert sent(Model("m", NOWHERE, "there"), reasoning_effort="none")["reasoning_effort"] == "none"


def test_a_whole_answer_may_be_asked_for_as_a_stream() -> None:
    streaming = Model("m", NOWHERE, "there", profile=replace(PLAIN, streams_always=True))
    table = ModelTable((streaming,))
    for stream, joins in ((False, 2), (True, None)):
        wanted = job(b"/v1/chat/completions", chat(n=2, stream=stream))
        prepared = prepare(table, wanted, lambda name: ACCOUNT)
        assert prepared.joins == joins
        assert json.loads(prepared.request.body)["stream"] is True
        assert (prepared.expected is None) != stream


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_that_leaves_no_room_to_think_is_called_as_its_client_calls_it(name: str) -> None:
    upstream = replace(NOWHERE, dialect="anthropic")
    model = Model("m", upstream, "there", profile=replace(PLAIN, thinking="budget"))
    with pytest.raises(ChatError) as caught:
        sent(model, reasoning_effort="low", **{name: 9})
    assert caught.value.param == name
    assert f"'{name}'" in caught.value.message


SPOKEN = [*HELLO, {"role": "assistant", "content": "Hm"}]
MISTAKES: dict[str, tuple[bytes, dict[str, Any], str | None]] = {
    "chat": (
        b"/v1/chat/completions",
        chat(messages=[*SPOKEN, {"role": "user", "content": ""}]),
        "messages[2].content",
    ),
    "messages": (
        b"/v1/messages",
        {"model": "m", "max_tokens": 9, "messages": SPOKEN},
        "messages[1].role",
    ),
    "responses": (b"/v1/responses", {"model": "m", "input": SPOKEN}, "messages[1].role"),
    "prompts": (b"/v1/completions", {"model": "m", "prompt": "a"}, "prompt"),
}


@pytest.mark.parametrize("dialect", ["anthropic", "bedrock"])
@pytest.mark.parametrize("prompt", [None, "Be kind."])
@pytest.mark.parametrize("case", MISTAKES)
def test_an_error_names_the_client_s_own_message(
    case: str, prompt: str | None, dialect: str
) -> None:
    """Whether the model has instructions of its own or not."""
    path, body, place = MISTAKES[case]
    upstream = replace(NOWHERE, dialect=dialect)
    profile = replace(PLAIN, prefill=False)
    table = ModelTable((Model("m", upstream, "there", system_prompt=prompt, profile=profile),))
    with pytest.raises(ChatError) as caught:
        prepare(table, job(path, body), lambda name: ACCOUNT)
    assert caught.value.param == place
    assert f"'{place}'" in caught.value.message
    told = json.loads(SURFACES[path].refuse(caught.value).content)["error"]
    named = "input" if case == "responses" else place
    assert f"'{named}'" in told["message"]
    assert "messages[3]" not in told["message"]


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_asked_goes_with_what_is_needed_of_the_answer(case: str) -> None:
    path, body = TAKEN[case]
    wanted = job(path, body)
    prepared = prepare(TABLE, wanted, lambda name: ACCOUNT)
    assert (prepared.model, prepared.joins, prepared.wanted) == ("m", None, None)
    assert prepared.kind == (
        "conversation" if path.endswith(b"chat/completions") else "continuation"
    )
    assert prepared.request_hash == hashlib.sha256(wanted.content).digest()
    assert prepared.expected == (Expected(1, usage=True) if case == "stream" else None)


def test_what_is_embedded_goes_with_what_is_needed_of_the_vectors() -> None:
    wanted = job(
        b"/v1/embeddings", {"model": "e", "input": ["a", "b"], "encoding_format": "base64"}
    )
    prepared = prepare(TABLE, wanted, lambda name: ACCOUNT)
    assert (prepared.model, prepared.kind, prepared.expected) == ("e", "embedding", None)
    assert prepared.wanted == Wanted(2, "base64")
    assert prepared.request_hash == hashlib.sha256(wanted.content).digest()
    assert json.loads(prepared.request.body)["input"] == ["a", "b"]
