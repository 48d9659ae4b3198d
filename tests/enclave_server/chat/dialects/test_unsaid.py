"""What there is no word for is refused; what asks for nothing is not."""

from typing import Any

import pytest

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.unsaid import (
    OF_ONE_ANSWER,
    nucleus,
    output_limit,
    refuse,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.profiles import Profile
from tests.support.conversations import HARMLESS, asked, model

ASKING: dict[str, Any] = {
    "n": 2,
    "presence_penalty": 0.1,
    "frequency_penalty": -2.0,
    "seed": 0,
    "logit_bias": {"1": 1.0},
    "logprobs": True,
    "top_logprobs": 1,
    "verbosity": "low",
}


@pytest.mark.parametrize("name", ASKING)
def test_what_cannot_be_said_is_refused_by_name(name: str) -> None:
    with pytest.raises(ChatError) as caught:
        refuse(asked(**{name: ASKING[name]}), OF_ONE_ANSWER)
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
    assert OF_ONE_ANSWER[name] in caught.value.message


def test_every_piece_of_advice_is_on_a_field() -> None:
    assert ASKING.keys() == OF_ONE_ANSWER.keys() <= set(Conversation.__struct_fields__)


def test_what_asks_for_nothing_is_taken() -> None:
    refuse(asked(), OF_ONE_ANSWER)
    refuse(asked(**HARMLESS), OF_ONE_ANSWER)


@pytest.mark.parametrize("name", ["temperature", "top_p"])
@pytest.mark.parametrize("value", [None, 0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("reach", ["none", "one", "two"])
def test_sampling_within_the_range(name: str, value: float | None, reach: Any) -> None:
    question, profile = asked(**{name: value}), Profile(temperature=reach)
    if value is None or (reach == "none" and value == 1):
        assert nucleus(question, profile) == {}
    elif value <= 1 and reach != "none":
        assert nucleus(question, profile) == {name: value}
    else:
        with pytest.raises(ChatError) as caught:
            nucleus(question, profile)
        assert (caught.value.param, caught.value.code) == (name, "unsupported_value")


@pytest.mark.parametrize(
    ("asked_for", "of_model", "of_profile", "limit"),
    [
        ({}, None, None, None),
        ({}, None, 7, 7),
        ({}, 6, 7, 6),
        ({"max_tokens": 5}, 6, 7, 5),
        ({"max_completion_tokens": 5}, 6, 7, 5),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 6, 7, 5),
    ],
)
def test_limit_of_an_answer(
    asked_for: dict[str, int], of_model: int | None, of_profile: int | None, limit: int | None
) -> None:
    there = model(limit=of_model, output_limit=of_profile)
    assert output_limit(asked(**asked_for), there) == limit


def test_two_limits_are_refused() -> None:
    with pytest.raises(ChatError) as caught:
        output_limit(asked(max_tokens=5, max_completion_tokens=6), model())
    assert caught.value.param == "max_tokens"
