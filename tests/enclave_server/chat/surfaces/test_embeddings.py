"""Embeddings: what is wrong with a request is said, and what is right is read and written."""

import base64
import json
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse, EmbeddingCreateParams

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.embedding import Embedding, Vectors
from enclave_server.chat.errors import ChatError
from enclave_server.chat.preparing import Job, prepare
from enclave_server.chat.surfaces import dropped
from enclave_server.chat.surfaces.embeddings import EmbeddingRequest, Embeddings
from enclave_server.chat.surfaces.surface import Identity
from protocol.binary_http import Response
from protocol.embedding_transcript import encode_vector, vectors_of
from protocol.gateway import Delivery
from tests.support.chat_service import HELLO, TABLE, ask_nowhere

PATH = b"/v1/embeddings"
IDENTITY = Identity("", 5, "e")


def refused(body: object, **how: Any) -> tuple[Response, dict[str, Any]]:
    return ask_nowhere(body, path=PATH, **how)


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": [[]]}, "input[0]", "invalid_value"),
        ({"input": ["x", 1]}, "input", "invalid_value"),
        ({"input": ["x", [1]]}, "input", "invalid_value"),
        ({"input": [[1], 1]}, "input", "invalid_value"),
        ({"input": [-1]}, "input[0]", "invalid_value"),
        ({"input": [2**31]}, "input[0]", "invalid_value"),
        ({"input": [True]}, "input[0]", "invalid_value"),
        ({"input": {"text": "x"}}, "input", "invalid_value"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"dimensions": 65_537}, "dimensions", "invalid_value"),
        ({"dimensions": "8"}, "dimensions", "invalid_value"),
        ({"encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"model": "none"}, "model", "model_not_found"),
        ({"stream": True}, "stream", "unknown_parameter"),
        ({"input_type": "query"}, "input_type", "unknown_parameter"),
        ({"n": 2}, "n", "unknown_parameter"),
        ({"input": ["a", "b", "c"]}, "input", "invalid_value"),
        ({"input": [[1], [2], [3]]}, "input", "invalid_value"),
        ({"input": "123456789"}, "input", "context_length_exceeded"),
        ({"input": ["1234", "ääx"]}, "input", "context_length_exceeded"),
        ({"input": [1] * 9}, "input", "context_length_exceeded"),
        ({"model": "m"}, "model", "unsupported_value"),
    ],
)
@pytest.mark.parametrize("delivery", Delivery)
def test_what_is_wrong_is_said(
    changes: dict[str, Any], param: str, code: str, delivery: Delivery
) -> None:
    answer, error = refused({"model": "e", "input": "x", **changes}, delivery=delivery)
    assert (answer.status, error["param"], error["code"]) == (
        404 if code == "model_not_found" else 400,
        param,
        code,
    )


def test_other_methods_media_types_and_bodies_are_refused() -> None:
    body = {"model": "e", "input": "x"}
    assert refused(body, method=b"GET")[0].status == 405
    assert refused(body, headers=())[0].status == 415
    assert refused(b"{")[0].status == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (b"/v1/chat/completions", {"messages": HELLO}),
        (b"/v1/completions", {"prompt": "x"}),
        (b"/v1/responses", {"input": "x"}),
        (b"/v1/messages", {"messages": HELLO, "max_tokens": 9}),
    ],
)
def test_a_model_of_embeddings_answers_nothing_else(path: bytes, body: dict[str, Any]) -> None:
    content = json.dumps({"model": "e", **body}).encode()
    with pytest.raises(ChatError, match="unsupported_value") as caught:
        prepare(TABLE, Job(path, content, may_stream=False), lambda _: Account())
    assert caught.value.status == 400
    assert caught.value.message == "This model makes embeddings alone: ask it at /v1/embeddings."


@pytest.mark.parametrize(
    ("said", "entries"),
    [
        ("x", ["x"]),
        (["x"], ["x"]),
        (["x", ""], ["x", ""]),
        ([1, 2], [[1, 2]]),
        ([[1, 2]], [[1, 2]]),
        ([[1], [2]], [[1], [2]]),
    ],
)
def test_entries_are_a_list_in_whichever_way_they_are_said(said: Any, entries: Any) -> None:
    content = json.dumps({"model": "e", "input": said, "user": "ada", "dimensions": 8}).encode()
    assert Embeddings().read(content) == Embedding(model="e", entries=entries, dimensions=8)


def test_every_field_of_the_sdk_is_read_or_dropped() -> None:
    read = set(EmbeddingRequest.__struct_fields__)
    assert set(get_type_hints(EmbeddingCreateParams)) - read == {"user"} <= dropped.OF_REQUEST


VECTORS = Vectors([encode_vector([0.1, -2.0]), encode_vector([1e-9, 3.0])], 7)


def test_the_answer_is_openai_s_and_says_the_same_octets_in_either_encoding() -> None:
    signature = {"tee_id": "k"}
    numbers = json.loads(Embeddings().write(VECTORS, "float", IDENTITY, signature))
    texts = json.loads(Embeddings().write(VECTORS, "base64", IDENTITY, signature))
    assert CreateEmbeddingResponse.model_validate(numbers).model == "e"
    for body in (numbers, texts):
        assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
        assert body.keys() == {"object", "data", "model", "usage", "tee_id"}
        assert [item["index"] for item in body["data"]] == [0, 1]
    for number, text, vector in zip(numbers["data"], texts["data"], VECTORS.vectors, strict=True):
        assert encode_vector(number["embedding"]) == base64.b64decode(text["embedding"]) == vector


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_nine_digits_say_every_number_exactly(components: list[float]) -> None:
    vector = encode_vector(components)
    written = json.loads(Embeddings().write(Vectors([vector]), "float", IDENTITY, {}))
    assert vectors_of(written["data"]) == [vector]


def test_a_count_that_nobody_told_is_not_made_up() -> None:
    answer = Vectors(VECTORS.vectors)
    assert "usage" not in json.loads(Embeddings().write(answer, "float", IDENTITY, {}))
