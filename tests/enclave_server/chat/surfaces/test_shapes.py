"""What all of OpenAI's requests share: what is dropped, what is refused, and in which words."""

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.shapes import IDENTIFYING, Request, convert, strip, without


def test_what_identifies_a_person_or_a_session_is_dropped() -> None:
    fields = dict.fromkeys(IDENTIFYING, "ada") | {"model": "m", "seed": None}
    assert strip(fields) == {"model": "m"}


def test_padding_of_streams_is_the_gateway_s_task() -> None:
    fields = {"model": "m", "stream_options": {"include_obfuscation": True, "include_usage": None}}
    assert strip(fields) == {"model": "m", "stream_options": {}}


def test_what_is_left_is_left_as_it_is() -> None:
    fields = {"a": 1, "b": None}
    assert without(fields, frozenset({"c"})) == {"a": 1}
    assert without(fields, frozenset({"a"})) == {}
    assert fields == {"a": 1, "b": None}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "model", "missing_required_parameter"),
        ({"model": "m", "x" * 100: 1}, "x" * 64, "unknown_parameter"),
        ({"model": "m", "stop": [1]}, "stop[0]", "invalid_value"),
        ({"model": "m", "logit_bias": {"x": 1}}, "logit_bias", "invalid_value"),
    ],
)
def test_the_first_wrong_field_is_named(fields: dict[str, object], param: str, code: str) -> None:
    with pytest.raises(ChatError) as caught:
        convert(fields, Request)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_options_of_a_stream_need_one() -> None:
    for fields in ({"stream": False}, {}):
        request = convert({"model": "m", "stream_options": {}, **fields}, Request)
        with pytest.raises(ChatError) as caught:
            request.question()
        assert caught.value.param == "stream_options"
