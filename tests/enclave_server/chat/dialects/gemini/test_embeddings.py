"""Embeddings of the Gemini API: what leaves, held against Google's own types, and what is read."""

import json
from typing import Any

import pytest
from google.genai.types import EmbedContentResponse

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.gemini.embeddings import read_answer, write_request
from enclave_server.chat.embedding import Embedding, Encoding, Vectors
from enclave_server.chat.errors import ChatError, Failure, UpstreamError
from enclave_server.chat.models import Model
from protocol.embedding_transcript import encode_vector
from tests.support.upstream_connection import upstream_at

MODEL = Model("m", upstream_at("unix:/x"), "gemini-embedding-001", embeddings=True)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_every_text_is_asked_for_in_one_request(encoding: Encoding) -> None:
    question = Embedding(model="m", entries=["a", "b"], dimensions=8, encoding=encoding)
    request = write_request(question, MODEL, Account("k"))
    assert request.path == "/models/gemini-embedding-001:batchEmbedContents"
    assert request.fields == ((b"x-goog-api-key", b"k"),)
    assert json.loads(request.body) == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "outputDimensionality": 8,
            }
            for text in ("a", "b")
        ]
    }


def test_dimensions_are_the_models_unless_they_are_asked_for() -> None:
    request = write_request(Embedding(model="m", entries=["a"]), MODEL, Account())
    (said,) = json.loads(request.body)["requests"]
    assert said.keys() == {"model", "content"}


@pytest.mark.parametrize(
    ("entries", "prefix", "param"),
    [([[1, 2]], "/v1beta", "input"), (["a"], "/v1/projects/p/locations/l/publishers/g", "model")],
)
def test_what_it_has_no_word_for_is_refused(entries: Any, prefix: str, param: str) -> None:
    model = Model("m", upstream_at("unix:/x", path_prefix=prefix), "e", embeddings=True)
    with pytest.raises(ChatError) as caught:
        write_request(Embedding(model="m", entries=entries), model, Account())
    assert (caught.value.param, caught.value.code) == (param, "unsupported_value")


def answer(*vectors: list[Any]) -> bytes:
    return json.dumps({"embeddings": [{"values": vector} for vector in vectors]}).encode()


def test_vectors_are_read_in_their_order() -> None:
    body = answer([0.5, -1], [0.25])
    theirs = EmbedContentResponse.model_validate_json(body)
    assert [each.values for each in theirs.embeddings or ()] == [[0.5, -1.0], [0.25]]
    assert read_answer(body, 2) == Vectors([encode_vector([0.5, -1]), encode_vector([0.25])])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        answer([0.5]),
        answer([0.5], [0.5], [0.5]),
        answer([0.5], []),
        answer([0.5], ["x"]),
        answer([0.5], [1e39]),
        b'{"embeddings":[{},{}]}',
        b'{"error":{"code":500}}',
    ],
)
def test_what_is_no_answer_to_so_many_entries_is_a_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_answer(body, 2)
    assert caught.value.failure is Failure.BROKEN
