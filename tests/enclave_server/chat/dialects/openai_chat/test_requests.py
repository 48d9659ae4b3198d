"""What OpenAI-compatible upstreams are sent: every member of the neutral form, in one order."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import (
    AnyObject,
    AnyText,
    Continuation,
    Conversation,
    Format,
    Image,
    Message,
    ObjectOf,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolNamed,
)
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_chat.members import CHAT_MEMBERS, TEXT_MEMBERS
from enclave_server.chat.dialects.openai_chat.requests import write_request
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import PROFILES, find_profile
from protocol.registry import EVENT_STREAM, JSON
from tests.support.upstream_connection import upstream_at

MODEL = Model("m", upstream_at("unix:/x"), "there")
HELLO = Message("user", "Hello")

# Said by other members, or in other words.
ELSEWHERE = {"stream", "usage", "sampling"}


def written(*messages: Message, **wishes: Any) -> dict[str, Any]:
    question = Conversation(model="m", messages=list(messages) or [HELLO], **wishes)
    body: dict[str, Any] = json.loads(write_request(question, MODEL, Account()).body)
    return body


def test_no_member_of_the_neutral_form_is_forgotten() -> None:
    assert {*Conversation.__struct_fields__} == {*CHAT_MEMBERS} | ELSEWHERE
    assert {*Continuation.__struct_fields__} == {*TEXT_MEMBERS} | ELSEWHERE


def test_what_is_not_said_is_left_out() -> None:
    assert written() == {"model": "there", "messages": [{"role": "user", "content": "Hello"}]}


def test_streams_are_asked_for_by_body_and_accept() -> None:
    for usage in (False, True):
        question = Conversation(model="m", messages=[HELLO], stream=True, usage=usage)
        request = write_request(question, MODEL, Account())
        body = json.loads(request.body)
        assert request.accept == EVENT_STREAM
        assert body["stream"] is True
        assert body.get("stream_options") == ({"include_usage": True} if usage else None)
    assert write_request(Conversation(model="m", messages=[]), MODEL, Account()).accept == JSON


def test_prompts_are_asked_elsewhere() -> None:
    request = write_request(Continuation(model="m", prompt=[[1], [2]], best_of=3), MODEL, Account())
    assert request.path == "/completions"
    assert request.body == b'{"model":"there","prompt":[[1],[2]],"best_of":3}'


def test_parts_are_written_by_their_type() -> None:
    shown = [Image("https://x/y"), Image("https://x/y", "low")]
    body = written(Message("user", [Text("a"), *shown]), Message("assistant", [Refusal("no")]))
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "https://x/y"}},
        {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}},
    ]
    assert body["messages"][1]["content"] == [{"type": "refusal", "refusal": "no"}]


def test_calls_and_results_have_identifiers_of_their_number() -> None:
    calls = [ToolCall(0, "f", "{}"), ToolCall(12, "g", "x")]
    body = written(
        Message("assistant", None, "refused", calls), Message("tool", "Rain", result_of=12)
    )
    first, second = body["messages"]
    assert list(first) == ["role", "refusal", "tool_calls"]
    assert [call["id"] for call in first["tool_calls"]] == ["call00000", "call00012"]
    assert first["tool_calls"][1]["function"] == {"name": "g", "arguments": "x"}
    assert second == {"role": "tool", "content": "Rain", "tool_call_id": "call00012"}


def test_tools_and_their_choice() -> None:
    tools = [Tool("f"), Tool("g", "does", {"type": "object"}, strict=True)]
    body = written(tools=tools, tool_choice=ToolNamed("f"))
    assert [tool["function"] for tool in body["tools"]] == [
        {"name": "f"},
        {"name": "g", "description": "does", "parameters": {"type": "object"}, "strict": True},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert written(tools=tools, tool_choice="none")["tool_choice"] == "none"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (AnyText(), {"type": "text"}),
        (AnyObject(), {"type": "json_object"}),
        (
            ObjectOf("s", schema={}, strict=False),
            {"type": "json_schema", "json_schema": {"name": "s", "schema": {}, "strict": False}},
        ),
    ],
)
def test_formats_of_answers(wanted: Format, expected: dict[str, Any]) -> None:
    assert written(response_format=wanted)["response_format"] == expected


def asked(profile: str, **wishes: Any) -> dict[str, Any]:
    """Return what a provider of that profile is asked."""
    model = Model("m", upstream_at("unix:/x"), "there", profile=find_profile(profile))
    question = Conversation(model="m", messages=[HELLO], **wishes)
    body: dict[str, Any] = json.loads(write_request(question, model, Account()).body)
    return body


@pytest.mark.parametrize(
    ("profile", "members"),
    [
        ("openai", {"store": False}),
        ("azure", {"store": False}),
        ("xai", {"store": False}),
        ("openrouter", {"provider": {"zdr": True, "data_collection": "deny"}}),
        ("mistral", {}),
        ("plain", {}),
    ],
)
def test_what_a_provider_must_not_keep_is_said_unasked(
    profile: str, members: dict[str, Any]
) -> None:
    plain = {"model": "there", "messages": [{"role": "user", "content": "Hello"}]}
    assert asked(profile) == plain | members


def test_each_request_has_a_cache_of_its_own() -> None:
    for profile in ("vllm", "sglang"):
        salts = {asked(profile)["cache_salt"] for _ in range(9)}
        assert len(salts) == 9
        assert all(len(salt) >= 20 for salt in salts)


def test_members_are_said_in_the_provider_s_words() -> None:
    assert asked("openai", max_tokens=5)["max_completion_tokens"] == 5
    assert asked("deepseek", max_completion_tokens=5)["max_tokens"] == 5
    said = asked("mistral", max_completion_tokens=5, seed=7)
    assert (said["max_tokens"], said["random_seed"]) == (5, 7)
    assert "seed" not in said


@pytest.mark.parametrize("profile", sorted({*PROFILES} - {"vllm", "sglang"}))
def test_two_names_of_one_limit_leave_no_trace(profile: str) -> None:
    model = Model("m", upstream_at("unix:/x"), "there", profile=find_profile(profile))
    questions = (
        Conversation(model="m", messages=[HELLO], max_tokens=5),
        Conversation(model="m", messages=[HELLO], max_completion_tokens=5),
    )
    bodies = [write_request(each, model, Account()).body for each in questions]
    assert bodies[0] == bodies[1]


def test_a_count_is_asked_for_where_it_does_not_come_by_itself() -> None:
    assert "stream_options" not in asked("mistral", stream=True, usage=True)
    assert asked("openai", stream=True, usage=True)["stream_options"] == {"include_usage": True}


def test_sampling_passes_as_it_is() -> None:
    wishes = {"top_k": 5, "chat_template_kwargs": {"enable_thinking": False}}
    assert asked("plain", sampling=wishes).items() >= wishes.items()


def test_completions_are_told_nothing_that_they_do_not_know() -> None:
    for name, members in (("openai", {}), ("openrouter", find_profile("openrouter").retention)):
        model = Model("m", upstream_at("unix:/x"), "there", profile=find_profile(name))
        question = Continuation(model="m", prompt="a", max_tokens=5)
        body = json.loads(write_request(question, model, Account()).body)
        assert body == {"model": "there", "prompt": "a", "max_tokens": 5, **members}
