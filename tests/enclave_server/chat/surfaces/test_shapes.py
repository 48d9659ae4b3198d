"""What all of OpenAI's requests share: what is dropped, what is refused, and in which words."""

import json

import pytest

from enclave_server.chat.bounds import MOST_LOGIT_BIAS
from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.dropped import OF_REQUEST
from enclave_server.chat.surfaces.shapes import Request, convert, strip, without


def test_what_identifies_a_person_or_a_session_is_dropped() -> None:
    fields = dict.fromkeys(OF_REQUEST, "ada") | {"model": "m", "seed": None}
    assert strip(fields) == {"model": "m"}


def test_padding_of_streams_is_the_gateway_s_task() -> None:
    fields = {"model": "m", "stream_options": {"include_obfuscation": True, "include_usage": None}}
    assert strip(fields) == {"model": "m", "stream_options": {}}


def test_what_is_left_is_left_as_it_is() -> None:
    fields = {"a": 1, "b": None}
    assert without(fields, frozenset({"c"})) == {"a": 1}
    assert without(fields, frozenset({"a"})) == {}
    assert without({"a": 1, "c": 2}, frozenset({"c"})) == {"a": 1}
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


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Missing required parameter: 'model'."),
        ({"model": "m", "oddity": 1}, "Unknown parameter: 'oddity'."),
        (
            {"model": "m", "route": "x"},
            "Unknown parameter: 'route'. One model answers: the one in 'model'.",
        ),
        (
            {"model": "m", "stream_options": {"include": 1}},
            "Unknown parameter: 'stream_options.include'.",
        ),
        ({"model": "m", "n": 0}, "Invalid value for 'n': Expected `int` >= 1."),
    ],
)
def test_what_is_wrong_is_a_sentence(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ChatError) as caught:
        convert(fields, Request)
    assert caught.value.message == sentence


def test_options_of_a_stream_need_one() -> None:
    for fields in ({"stream": False}, {}):
        request = convert({"model": "m", "stream_options": {}, **fields}, Request)
        with pytest.raises(ChatError) as caught:
            request.question()
        assert caught.value.param == "stream_options"


def test_ways_to_write_a_number_that_mean_the_same_leave_no_trace() -> None:
    names = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
    plain = {"model": "m", **dict.fromkeys(names, 0), "logit_bias": {"50256": 0, "7": -1}}
    odd = {"model": "m", **dict.fromkeys(names, -0.0), "logit_bias": {"007": -1.0, "50256": -0.0}}
    written = [json.dumps(convert(fields, Request).question()) for fields in (plain, odd)]
    assert written[0] == written[1]
    assert "-0.0" not in written[0]


def test_a_token_that_is_biased_twice_is_refused() -> None:
    request = convert({"model": "m", "logit_bias": {"7": 1, "07": 2}}, Request)
    with pytest.raises(ChatError) as caught:
        request.question()
    assert (caught.value.status, caught.value.param) == (400, "logit_bias")


def test_biases_are_counted_before_any_is_looked_at() -> None:
    most = {str(token): 1 for token in range(MOST_LOGIT_BIAS)}
    assert convert({"model": "m", "logit_bias": most}, Request).question()["logit_bias"]
    with pytest.raises(ChatError) as caught:
        convert({"model": "m", "logit_bias": {"no token": 1, **most}}, Request)
    assert caught.value.param == "logit_bias"
    assert f"length <= {MOST_LOGIT_BIAS}" in caught.value.message
