"""Efforts in both of Anthropic's words, and the levels that a model lacks."""

from typing import Any, get_args

import pytest
from msgspec.structs import replace

from enclave_server.chat.conversation import Effort
from enclave_server.chat.dialects.anthropic.thinking import (
    BUDGETS,
    EFFORTS,
    thinking_of,
    write_thinking,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.profiles import Profile
from tests.support.conversations import HELLO, RESULTS, asked, calling

BY_BUDGET = Profile(thinking="budget")
ROOM = 64000


def refusal(effort: Any, profile: Profile, limit: int = ROOM) -> ChatError:
    with pytest.raises(ChatError) as caught:
        write_thinking(effort, limit, profile)
    return caught.value


@pytest.mark.parametrize("profile", [Profile(), BY_BUDGET])
def test_nothing_is_said_of_it_unless_asked(profile: Profile) -> None:
    assert write_thinking(None, 1, profile) == {}
    assert write_thinking("none", 1, profile) == {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize("effort", EFFORTS)
def test_newer_models_are_told_an_effort(effort: Any) -> None:
    assert write_thinking(effort, 1, Profile()) == {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": effort},
    }


@pytest.mark.parametrize("effort", BUDGETS)
def test_older_models_are_told_a_budget_within_the_limit(effort: Any) -> None:
    budget = BUDGETS[effort]
    assert write_thinking(effort, budget + 1, BY_BUDGET) == {
        "thinking": {"type": "enabled", "budget_tokens": budget}
    }
    error = refusal(effort, BY_BUDGET, budget)
    assert error.param == "max_completion_tokens"
    assert str(budget) in error.message


@pytest.mark.parametrize(
    ("profile", "lacking"),
    [
        (Profile(), {"minimal"}),
        (BY_BUDGET, {"minimal", "max"}),
        (Profile(efforts=("low", "high")), {"none", "minimal", "medium", "xhigh", "max"}),
    ],
)
def test_levels_that_a_model_lacks_are_refused_with_those_it_has(
    profile: Profile, lacking: set[str]
) -> None:
    for effort in lacking:
        error = refusal(effort, profile)
        assert (error.param, error.code) == ("reasoning_effort", "unsupported_value")
        assert "low" in error.message
        assert not any(f" {level}" in error.message for level in lacking)
    for effort in set(get_args(Effort)) - lacking:
        write_thinking(effort, ROOM, profile)


@pytest.mark.parametrize("profile", [Profile(), BY_BUDGET])
@pytest.mark.parametrize("effort", [None, "none", "low"])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("goes_on", [True, False])
def test_older_models_go_on_from_calls_with_their_thoughts_alone(
    profile: Profile, effort: Any, kept: bool, goes_on: bool
) -> None:
    called = calling("anthropic") if kept else replace(calling("anthropic"), state=None)
    turn = [HELLO, called, *RESULTS, *([] if goes_on else [HELLO])]
    question = asked(*turn, reasoning_effort=effort)
    if profile is not BY_BUDGET or effort != "low" or kept or not goes_on:
        assert thinking_of(question, ROOM, profile) == write_thinking(effort, ROOM, profile)
        return
    with pytest.raises(ChatError) as caught:
        thinking_of(question, ROOM, profile)
    assert caught.value.param == "reasoning_effort"
