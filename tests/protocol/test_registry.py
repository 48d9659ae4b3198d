"""The names are those of the registries; the vectors hold the types of Oblivious HTTP."""

import pytest

from protocol import registry
from tests.support.vector_files import load


def test_types_are_those_of_the_specifications() -> None:
    http, types = (
        load("rfc9458-appendix-a.json")["http"],
        load("chunked-ohttp-08.json")["media_types"],
    )
    assert http["request_media_type"].encode() == registry.OHTTP_REQUEST
    assert http["response_media_type"].encode() == registry.OHTTP_RESPONSE
    assert types["request"].encode() == registry.CHUNKED_OHTTP_REQUEST
    assert types["response"].encode() == registry.CHUNKED_OHTTP_RESPONSE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/event-stream", registry.EVENT_STREAM),
        (b"Text/Event-Stream ; charset=utf-8", registry.EVENT_STREAM),
        (b"application/json;a=b;c", registry.JSON),
        (b"text/event-streams", b"text/event-streams"),
        (b"", b""),
        (None, b""),
    ],
)
def test_a_media_type_has_no_parameters_and_no_case(value: bytes | None, expected: bytes) -> None:
    assert registry.media_type(value) == expected
