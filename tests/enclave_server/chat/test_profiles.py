"""Profiles: which host means which, and that each does what docs/models.md says of it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from enclave_server.chat.errors import LIMIT_NAMES
from enclave_server.chat.profiles import (
    PLAIN,
    PROFILES,
    Profile,
    find_profile,
    profile_of_host,
)

MODELS = Path(__file__).resolve().parents[3] / "docs/models.md"
TOLD = {
    name: what
    for names, what in re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| [^|]+ \| ([^|]+) \|$",
        MODELS.read_text(encoding="utf-8").split("## Profiles")[1].split("## ")[0],
        re.MULTILINE,
    )
    for name in re.findall(r"\w+", names)
}
"""What operators are told of each profile, by its name."""

MEANINGS: dict[str, Callable[[Profile], bool]] = {
    "`store: false`": lambda it: it.retention == {"store": False},
    '`provider: {zdr: true, data_collection: "deny"}`': lambda it: (
        it.retention == {"provider": {"zdr": True, "data_collection": "deny"}}
    ),
    "`isolated_cache = true` caching in explicit mode": lambda it: (
        it.uncached == {"prompt_cache_options": {"mode": "explicit"}}
    ),
    "`max_completion_tokens`": lambda it: it.renamed.get("max_tokens") == "max_completion_tokens",
    "`random_seed`": lambda it: it.renamed.get("seed") == "random_seed",
    "whole answers as streams": lambda it: it.streams_always,
    "later instructions are the user's": lambda it: it.later_instructions == "user",
    "count of tokens comes unasked": lambda it: not it.counts_when_asked,
    "neighbours of one role become one message": lambda it: it.joins_roles,
    "the reasoning of the turn in which tools are called goes back": lambda it: (
        it.reasoning_returns
    ),
    "named `reasoning`": lambda it: it.reasoning_name == "reasoning",
    "`reasoning_details` go back": lambda it: it.details_return,
    "signatures of thoughts go back": lambda it: it.signatures_return,
    "a fresh `cache_salt` in each request": lambda it: it.cache_salt,
    "`temperature` to 1": lambda it: it.temperature == "one",
    "a limit of the answer, 32,000": lambda it: it.output_limit == 32_000,
    "`top_k`": lambda it: "top_k" in it.sampling,
    "`min_p`": lambda it: "min_p" in it.sampling,
    "`repetition_penalty`": lambda it: "repetition_penalty" in it.sampling,
    "`chat_template_kwargs`": lambda it: "chat_template_kwargs" in it.sampling,
}
"""What each of the words there means."""


@pytest.mark.parametrize(
    ("host", "dialect", "name"),
    [
        ("api.openai.com", "openai-chat", "openai"),
        ("API.OpenAI.com", "openai-chat", "openai"),
        ("res.openai.azure.com", "openai-responses", "azure"),
        ("eu-west-1.api.x.ai", "openai-responses", "xai"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "bedrock", "bedrock"),
        ("bedrock-mantle.eu-west-1.api.aws", "openai-chat", "bedrock"),
        ("bedrock-mantle.eu-west-1.api.aws", "anthropic", "anthropic"),
        ("api.anthropic.com", "anthropic", "anthropic"),
        ("generativelanguage.googleapis.com", "gemini", "gemini"),
        ("generativelanguage.googleapis.com", "openai-chat", "google"),
        ("europe-west1-aiplatform.googleapis.com", "gemini", "gemini"),
        ("europe-west1-aiplatform.googleapis.com", "anthropic", "anthropic"),
        ("api.openai.com.example.com", "openai-chat", "plain"),
        ("notapi.openai.com", "openai-chat", "plain"),
        ("openai.azure.com", "openai-chat", "plain"),
        (None, "openai-chat", "plain"),
    ],
)
def test_a_host_is_known_by_its_whole_name(host: str | None, dialect: str, name: str) -> None:
    assert profile_of_host(host, dialect) == name


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no profile 'x', only .*plain"):
        find_profile("x")


def test_who_is_not_known_is_told_nothing_more() -> None:
    assert replace(PLAIN) == find_profile("plain")
    assert not any((PLAIN.retention, PLAIN.uncached, PLAIN.cache_salt))


@pytest.mark.parametrize("name", PROFILES)
def test_one_name_of_the_limit_leaves(name: str) -> None:
    renamed = find_profile(name).renamed
    assert len({renamed.get(said, said) for said in LIMIT_NAMES}) == 1


def test_who_is_not_known_takes_messages_in_any_order() -> None:
    assert PLAIN.later_instructions == "system"
    assert PLAIN.prefill


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_does_what_operators_are_told_and_no_more(name: str) -> None:
    profile = find_profile(name)
    does = {words for words, holds in MEANINGS.items() if holds(profile)}
    assert does == {words for words in MEANINGS if words in TOLD[name]}


def test_operators_are_told_of_every_profile() -> None:
    assert {*TOLD} == {*PROFILES}


@pytest.mark.parametrize("name", PROFILES)
def test_no_provider_fetches_images_unless_it_is_configured(name: str) -> None:
    assert not find_profile(name).remote_images
