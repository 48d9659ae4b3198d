"""Embeddings of OpenAI's API: what leaves, and what is read of the answers of many servers."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_chat.embeddings import read_answer, write_request
from enclave_server.chat.embedding import Embedding, Encoding, Vectors
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import PROFILES
from protocol.embedding_transcript import encode_vector
from tests.support.upstream_connection import upstream_at

MODEL = Model("m", upstream_at("unix:/x"), "name-there", embeddings=True)
VECTOR = encode_vector([0.5, -1.0])


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_the_request_is_the_same_for_either_encoding(encoding: Encoding) -> None:
    question = Embedding(model="m", entries=["a"], dimensions=8, encoding=encoding)
    request = write_request(question, MODEL, Account("sk-1"))
    assert request.path == "/embeddings"
    assert request.accept == b"application/json"
    assert request.fields == ((b"Authorization", b"Bearer sk-1"),)
    assert request.body == b'{"model":"name-there","input":["a"],"dimensions":8}'


def test_what_a_profile_sets_is_set_but_for_what_chats_alone_have() -> None:
    def members(profile: str) -> set[str]:
        model = replace(MODEL, profile=PROFILES[profile])
        question = Embedding(model="m", entries=[[1, 2]])
        body = json.loads(write_request(question, model, Account()).body)
        assert body["input"] == [[1, 2]]
        return set(body) - {"model", "input"}

    assert members("openai") == set()
    assert members("openrouter") == {"provider"}
    assert members("vllm") == {"cache_salt"}


def answer(*data: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"object": "list", "data": data, "model": "theirs", **more}).encode()


FIRST, SECOND = ({"index": i, "embedding": [0.5 - i, -1]} for i in range(2))
COUNTED = {"usage": {"prompt_tokens": 3, "total_tokens": 3, "cached": 2}}


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (answer(FIRST, SECOND, **COUNTED, id="embd-1"), 3),
        (answer(SECOND, FIRST), None),
        (answer({"embedding": [0.5, -1.0]}, {"embedding": [-0.5, -1.0]}, usage=None), None),
        (answer(FIRST, SECOND, usage={"prompt_tokens": True}), None),
        (answer(FIRST, SECOND, usage={"prompt_tokens": -1}), None),
        (answer(FIRST | {"embedding": base64.b64encode(VECTOR).decode()}, SECOND), None),
        (answer(FIRST, SECOND, error=None), None),
    ],
)
def test_answers_are_read_as_their_servers_mean_them(body: bytes, tokens: int | None) -> None:
    assert read_answer(body, 2) == Vectors([VECTOR, encode_vector([-0.5, -1.0])], tokens)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        answer(FIRST),
        answer(FIRST, FIRST),
        answer(FIRST, SECOND, FIRST | {"index": 2}),
        answer(FIRST, SECOND, SECOND),
        answer(FIRST, SECOND | {"index": 2}),
        answer(FIRST, SECOND | {"embedding": []}),
        answer(FIRST, SECOND | {"embedding": None}),
        answer(FIRST, SECOND | {"embedding": ["x"]}),
        answer(FIRST, SECOND | {"embedding": [1e39]}),
        answer(FIRST, SECOND | {"embedding": "AAAA"}),
        answer(FIRST, SECOND | {"embedding": "!"}),
        json.dumps({"choices": [{"index": 0, "text": "x"}]}).encode(),
    ],
)
def test_what_is_no_answer_to_so_many_entries_is_a_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_answer(body, 2)
    assert caught.value.failure is Failure.BROKEN


def test_an_error_in_place_of_an_answer_keeps_its_blame() -> None:
    error = {"message": "slow down", "code": 429}
    with pytest.raises(UpstreamError) as caught:
        read_answer(json.dumps({"error": error}).encode(), 1)
    assert caught.value.failure is Failure.LIMITED
