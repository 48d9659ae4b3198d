"""Fields of sampling: each has a type and a range, and none passes without them."""

from typing import Any, get_args

import msgspec
import pytest

from enclave_server.chat.sampling import NAMES, Sampling, SamplingName, plain, taken_from


def read(**fields: Any) -> Any:
    return plain(msgspec.convert(fields, Sampling))


def test_a_configuration_can_name_them_all() -> None:
    assert set(get_args(SamplingName)) == NAMES


def test_they_are_taken_from_the_rest() -> None:
    assert taken_from({"top_k": 1, "a": 2}) == ({"top_k": 1}, {"a": 2})
    fields = {"a": 2}
    assert taken_from(fields) == ({}, fields)


def test_they_pass_in_one_order_and_as_they_are() -> None:
    fields = {"top_k": -1, "min_p": 0.5, "chat_template_kwargs": {"enable_thinking": False}}
    assert list(read(**fields).items()) == sorted(fields.items())
    assert list(read(**dict(reversed(fields.items())))) == sorted(fields)
    assert read(top_k=None) is None


LARGEST = 2**31 - 1


@pytest.mark.parametrize(
    ("name", "least", "most", "step"),
    [
        ("min_p", 0, 1, 1e-9),
        ("top_a", 0, 1, 1e-9),
        ("typical_p", 0, 1, 1e-9),
        ("repeat_penalty", 1e-9, 2, 1e-9),
        ("repetition_penalty", 1e-9, 2, 1e-9),
        ("min_tokens", 0, LARGEST, 1),
        ("thinking_budget", 0, LARGEST, 1),
        ("top_k", -1, LARGEST, 1),
    ],
)
def test_the_ends_of_a_range_are_taken_and_nothing_beyond(
    name: str, least: float, most: float, step: float
) -> None:
    for value in (least, most):
        assert read(**{name: value}) == {name: value}
    for value in (least - step, most + step):
        with pytest.raises(msgspec.ValidationError):
            read(**{name: value})


def test_some_tokens_end_an_answer() -> None:
    tokens = [0, LARGEST, *range(14)]
    assert read(stop_token_ids=tokens) == {"stop_token_ids": tokens}
    for wrong in (-1, LARGEST + 1):
        with pytest.raises(msgspec.ValidationError):
            read(stop_token_ids=[wrong])


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": -2},
        {"top_k": 1.5},
        {"min_p": 1.1},
        {"repetition_penalty": 0},
        {"repeat_penalty": 2.1},
        {"min_tokens": -1},
        {"stop_token_ids": [1] * 17},
        {"stop_token_ids": ["x"]},
        {"thinking": {"type": "maybe"}},
        {"thinking": {"type": "enabled", "budget_tokens": 5}},
        {"chat_template_kwargs": {"documents": []}},
        {"enable_thinking": "yes"},
    ],
)
def test_what_is_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Sampling)
