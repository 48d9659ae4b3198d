"""How much each generation of Gemini is told to think, read off its name."""

from typing import Any

import pytest

from enclave_server.chat.dialects.gemini.generations import (
    demands_signatures,
    generation_of,
    thinking,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import Profile
from tests.support.upstream_connection import upstream_at

OLD, MIDDLE, NEW = "gemini-2.0-flash", "gemini-2.5-pro", "gemini-3.6-flash"


def named(name: str, **changes: Any) -> Model:
    return Model("m", upstream_at("unix:/x"), name, **changes)


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("gemini-1.5-pro-002", (1, 5)),
        (OLD, (2, 0)),
        ("gemini-2.5-flash-lite", (2, 5)),
        ("publishers/google/models/gemini-2.5-pro", (2, 5)),
        ("gemini-3-pro-preview", (3, 0)),
        (NEW, (3, 6)),
        ("gemini-flash-latest", None),
        ("gemma-3", None),
        ("endpoints/123", None),
    ],
)
def test_generation_is_in_the_name(name: str, generation: tuple[int, int] | None) -> None:
    assert generation_of(named(name)) == generation
    assert demands_signatures(named(name)) is (generation is None or generation >= (3, 0))


@pytest.mark.parametrize(
    ("name", "effort", "told"),
    [
        (OLD, None, None),
        (OLD, "high", None),
        (MIDDLE, None, {"includeThoughts": True}),
        (MIDDLE, "none", {"includeThoughts": False, "thinkingBudget": 0}),
        (MIDDLE, "minimal", {"includeThoughts": True, "thinkingBudget": 512}),
        (MIDDLE, "low", {"includeThoughts": True, "thinkingBudget": 4096}),
        (MIDDLE, "medium", {"includeThoughts": True, "thinkingBudget": 16384}),
        (MIDDLE, "high", {"includeThoughts": True, "thinkingBudget": 24576}),
        (NEW, None, {"includeThoughts": True}),
        (NEW, "xhigh", {"includeThoughts": True, "thinkingLevel": "XHIGH"}),
        ("gemini-flash-latest", "low", {"includeThoughts": True, "thinkingLevel": "LOW"}),
    ],
)
def test_effort_is_a_level_or_a_number(name: str, effort: str | None, told: object) -> None:
    assert thinking(effort, named(name)) == told


@pytest.mark.parametrize(
    ("name", "effort", "known", "listed"),
    [
        (MIDDLE, "xhigh", None, "none, minimal, low, medium, high"),
        (NEW, "none", None, "minimal, low, medium, high, xhigh"),
        (NEW, "max", None, "minimal, low, medium, high, xhigh"),
        (NEW, "medium", ("low", "high", "max"), "low, high"),
    ],
)
def test_unknown_effort_is_refused_with_those_there_are(
    name: str, effort: str, known: tuple[str, ...] | None, listed: str
) -> None:
    with pytest.raises(ChatError) as caught:
        thinking(effort, named(name, profile=Profile(efforts=known)))
    assert (caught.value.status, caught.value.param) == (400, "reasoning_effort")
    assert f"It takes {listed}." in caught.value.message


def test_model_that_is_said_not_to_think_is_not_told_to() -> None:
    assert thinking("high", named(NEW, reasoning=False)) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gemini-2.9-pro", {"thinkingBudget": 4096}),
        ("gemini-3-pro-preview", {"thinkingLevel": "LOW"}),
        ("gemini-3.1-pro", {"thinkingLevel": "LOW"}),
    ],
)
def test_the_third_generation_is_the_first_that_is_told_a_level(
    name: str, said: dict[str, Any]
) -> None:
    assert thinking("low", named(name)) == {"includeThoughts": True, **said}
