"""Profiles: which host means which, and that each holds together."""

from dataclasses import replace

import pytest

from enclave_server.chat.errors import LIMIT_NAMES
from enclave_server.chat.profiles import PLAIN, PROFILES, find_profile, profile_of_host


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


@pytest.mark.parametrize("name", PROFILES)
def test_no_provider_fetches_images_unless_it_is_configured(name: str) -> None:
    assert not find_profile(name).remote_images
