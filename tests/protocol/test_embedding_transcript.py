"""What a signature covers of embeddings, octet by octet, and what it refuses to cover."""

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.answer_transcript import ANSWER_LABEL, CHOICES_LABEL, encode_choices
from protocol.embedding_transcript import (
    EMBEDDING_ANSWER_LABEL,
    EMBEDDINGS_LABEL,
    decode,
    encode_embeddings,
    encode_vector,
    require_vector,
    vectors_of,
)
from protocol.errors import SignatureInvalid


def part(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def entry(embedding: object, index: object = 0, **more: object) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding, **more}


def test_the_octets_are_as_documented() -> None:
    vectors = [encode_vector([1.0, -2]), encode_vector([0.5])]
    assert vectors == [bytes.fromhex("0000803f 000000c0"), bytes.fromhex("0000003f")]
    parts = [b"oblivious-inference embeddings 2", b"2", b"0", vectors[0], b"1", vectors[1]]
    assert encode_embeddings(vectors) == b"".join(map(part, parts))


def test_no_label_is_that_of_another_answer_or_begins_it() -> None:
    labels = [CHOICES_LABEL, ANSWER_LABEL, EMBEDDINGS_LABEL, EMBEDDING_ANSWER_LABEL]
    assert len({part(label) for label in labels}) == len(labels)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_and_base64_are_the_same_octets(components: list[float]) -> None:
    vector = encode_vector(components)
    text = base64.b64encode(vector).decode()
    assert vectors_of([entry(text)]) == vectors_of([entry(list(decode(vector)))]) == [vector]


@given(st.lists(st.binary(max_size=9), max_size=3), st.lists(st.binary(max_size=9), max_size=3))
def test_two_lists_of_vectors_are_never_one(one: list[bytes], other: list[bytes]) -> None:
    assert (encode_embeddings(one) == encode_embeddings(other)) == (one == other)


@given(st.text())
def test_no_text_says_what_embeddings_say(text: str) -> None:
    said = encode_choices([{"index": 0, "text": text, "finish_reason": "stop"}])
    assert said != encode_embeddings([text.encode()])


@pytest.mark.parametrize(
    "components",
    [[], ["1"], [True], [None], [1e39], [10**400], [float("nan")], [float("inf")], [[1.0]]],
)
def test_what_is_no_vector(components: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"component|vector"):
        encode_vector(components)


@pytest.mark.parametrize("octets", [b"", b"123", struct.pack("<f", float("inf"))])
def test_octets_that_are_no_vector(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a vector"):
        require_vector(octets)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"0": entry([1.0])},
        [[1.0]],
        [entry([1.0], 1)],
        [entry([1.0], True), entry([1.0], 1)],
        [entry([1.0], "0")],
        [entry([1.0], 1), entry([1.0], 0)],
        [entry([1.0], text="unsigned")],
        [entry([1.0]) | {"object": "choice"}],
        [entry([])],
        [entry([1.0, "x"])],
        [entry("AACAPw")],
        [entry("AACA!w==")],
        [entry("AAAA")],
        [entry(None)],
    ],
)
def test_what_would_go_unsigned_or_mean_two_things(data: object) -> None:
    with pytest.raises(SignatureInvalid):
        vectors_of(data)
