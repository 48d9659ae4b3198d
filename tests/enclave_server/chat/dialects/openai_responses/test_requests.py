"""What servers of the Responses API are sent, held against OpenAI's own types."""

import json
from typing import Any, get_type_hints

import pytest
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter

from enclave_server.chat.conversation import (
    AnyObject,
    AnyText,
    Continuation,
    Conversation,
    Message,
    ObjectOf,
    Tool,
    ToolCall,
    ToolNamed,
)
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_responses.requests import write_request
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import Profile
from protocol.registry import EVENT_STREAM, JSON
from tests.support.upstream_connection import upstream_at

Json = dict[str, Any]

HELLO = Message("user", "Hello")
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}

_WHOLE: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)
_STREAMED: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)


def model(**changes: Any) -> Model:
    return Model("m", upstream_at("unix:/x"), "there", **changes)


def written(*messages: Message, by: Model | None = None, **wishes: Any) -> Json:
    question = Conversation(model="m", messages=list(messages) or [HELLO], **wishes)
    request = write_request(question, by or model(), Account())
    body: Json = json.loads(request.body)
    types = _STREAMED if question.stream else _WHOLE
    assert json.loads(types.dump_json(types.validate_python(body))) == body
    return body


def refused(*messages: Message, by: Model | None = None, **wishes: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        written(*messages, by=by, **wishes)
    assert caught.value.status == 400
    return caught.value


def test_what_is_not_said_is_left_out() -> None:
    assert written() == {
        "model": "there",
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"summary": "auto"},
    }
    assert written(by=model(reasoning=False)).keys() == {"model", "input", "store"}


def test_streams_are_asked_for_by_body_and_accept() -> None:
    question = Conversation(model="m", messages=[HELLO], stream=True, usage=True)
    request = write_request(question, model(), Account("k", {"organization": "o"}))
    assert (request.path, request.accept) == ("/responses", EVENT_STREAM)
    assert request.fields == ((b"Authorization", b"Bearer k"), (b"OpenAI-Organization", b"o"))
    assert json.loads(request.body)["stream"] is True
    assert (
        write_request(Conversation(model="m", messages=[HELLO]), model(), Account()).accept == JSON
    )


WISHES: dict[str, tuple[Json, Json]] = {
    "a limit": ({"max_tokens": 9}, {"max_output_tokens": 9}),
    "a limit by its newer name": ({"max_completion_tokens": 9}, {"max_output_tokens": 9}),
    "both limits": ({"max_completion_tokens": 9, "max_tokens": 9}, {"max_output_tokens": 9}),
    "temperature": ({"temperature": 2.0, "top_p": 0.5}, {"temperature": 2.0, "top_p": 0.5}),
    "likelihoods": (
        {"logprobs": True, "top_logprobs": 3},
        {
            "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
            "top_logprobs": 3,
        },
    ),
    "a function": (
        {"tools": [Tool("f")]},
        {
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "parameters": {"type": "object", "properties": {}},
                    "strict": False,
                }
            ]
        },
    ),
    "a strict function": (
        {"tools": [Tool("f", "does", SCHEMA, strict=True)]},
        {
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "description": "does",
                    "parameters": SCHEMA,
                    "strict": True,
                }
            ]
        },
    ),
    "any function": ({"tool_choice": "required"}, {"tool_choice": "required"}),
    "no function": ({"tool_choice": "none"}, {"tool_choice": "none"}),
    "one function": (
        {"tool_choice": ToolNamed("f")},
        {"tool_choice": {"type": "function", "name": "f"}},
    ),
    "one call at a time": ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    "effort": (
        {"reasoning_effort": "max"},
        {"reasoning": {"effort": "max", "summary": "auto"}},
    ),
    "no effort": ({"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}),
    "text": ({"response_format": AnyText()}, {"text": {"format": {"type": "text"}}}),
    "an object": (
        {"response_format": AnyObject(), "verbosity": "low"},
        {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
    ),
    "an object of a schema": (
        {"response_format": ObjectOf("s", "is", SCHEMA, strict=True)},
        {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "s",
                    "description": "is",
                    "schema": SCHEMA,
                    "strict": True,
                }
            }
        },
    ),
    "an object of no schema": (
        {"response_format": ObjectOf("s")},
        {"text": {"format": {"type": "json_schema", "name": "s", "schema": {}}}},
    ),
    "a stream": ({"stream": True}, {"stream": True}),
    "what asks for nothing": (
        {"n": 1, "presence_penalty": 0.0, "frequency_penalty": 0.0, "modalities": ["text"]},
        {},
    ),
}


@pytest.mark.parametrize("case", WISHES)
def test_wishes_are_said_in_its_words(case: str) -> None:
    wishes, expected = WISHES[case]
    assert written(**wishes) == {**written(), **expected}


def test_limit_of_the_model_is_asked_for_where_the_client_names_none() -> None:
    assert written(by=model(output_limit=7))["max_output_tokens"] == 7
    assert written(by=model(output_limit=7), max_tokens=9)["max_output_tokens"] == 9


def test_profile_sets_what_keeps_the_provider_from_keeping_and_no_more_than_store() -> None:
    profile = Profile(retention={"store": True, "prompt_cache_options": {"mode": "explicit"}})
    body = written(by=model(profile=profile))
    assert body["store"] is False
    assert body["prompt_cache_options"] == {"mode": "explicit"}


def test_salt_is_fresh_where_the_profile_wants_one() -> None:
    by = model(profile=Profile(cache_salt=True))
    question = Conversation(model="m", messages=[HELLO])
    bodies = [json.loads(write_request(question, by, Account()).body) for _ in range(2)]
    salts = {body.pop("cache_salt") for body in bodies}
    assert (len(salts), bodies) == (2, 2 * [written()])


UNSAYABLE: dict[str, Json] = {
    "n": {"n": 2},
    "stop": {"stop": ["x"]},
    "presence_penalty": {"presence_penalty": 0.5},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "seed": {"seed": 0},
    "logit_bias": {"logit_bias": {"1": 2.0}},
    "top_k": {"sampling": {"top_k": 3}},
    "max_tokens": {"max_tokens": 1, "max_completion_tokens": 2},
}


@pytest.mark.parametrize("name", UNSAYABLE)
def test_what_it_has_no_word_for_is_refused_by_its_name(name: str) -> None:
    assert refused(**UNSAYABLE[name]).param == name


@pytest.mark.parametrize(
    ("name", "value", "profile"),
    [
        ("temperature", 0.5, Profile(temperature="none")),
        ("top_p", 0.5, Profile(temperature="none")),
        ("temperature", 1.5, Profile(temperature="one")),
        ("reasoning_effort", "max", Profile(efforts=("low", "high"))),
    ],
)
def test_what_the_provider_does_not_take_is_refused(
    name: str, value: object, profile: Profile
) -> None:
    error = refused(by=model(profile=profile), **{name: value})
    assert (error.param, error.code) == (name, "unsupported_value")


def test_prompts_are_refused() -> None:
    with pytest.raises(ChatError) as caught:
        write_request(Continuation(model="m", prompt="x"), model(), Account())
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    "messages",
    [
        [Message("assistant", calls=[ToolCall(0, "f", "{}")]), HELLO],
        [HELLO, Message("tool", "x", result_of=0)],
    ],
)
def test_calls_and_results_come_in_pairs(messages: list[Message]) -> None:
    assert (refused(*messages).param or "").startswith("messages[")


MAPPED: dict[str, Json] = {
    "include": {},
    "input": {},
    "max_output_tokens": {"max_tokens": 9},
    "model": {},
    "parallel_tool_calls": {"parallel_tool_calls": False},
    "reasoning": {},
    "stream": {"stream": True},
    "temperature": {"temperature": 0.5},
    "text": {"verbosity": "low"},
    "tool_choice": {"tool_choice": "none"},
    "tools": {"tools": [Tool("f")]},
    "top_logprobs": {"top_logprobs": 1, "logprobs": True},
    "top_p": {"top_p": 0.5},
}
"""Members that say what was asked, and what asks for each."""

EVERYTHING = {name: value for each in MAPPED.values() for name, value in each.items()}

SET = {"store"}
"""Members that the gateway sets, whoever asks."""

DROPPED = {
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "stream_options",
    "user",
}
"""What identifies, or costs the operator: no surface reads it."""

REFUSED = {
    "access_programs",
    "background",
    "background_options",
    "context_management",
    "conversation",
    "image",
    "instructions",
    "max_tool_calls",
    "moderation",
    "previous_response_id",
    "prompt",
    "truncation",
}
"""What is kept at the provider, runs there, or changes the question: no surface lets it pass.

Instructions are items, so that their order stays.
"""


def test_every_member_of_their_types_is_mapped_set_dropped_or_refused() -> None:
    members = {*get_type_hints(ResponseCreateParamsNonStreaming)}
    assert members == {*MAPPED} | SET | DROPPED | REFUSED
    for name, wishes in MAPPED.items():
        assert name in written(**wishes)
    everything = written(
        **{name: value for each in MAPPED.values() for name, value in each.items()}
    )
    assert everything.keys() == {*MAPPED} | SET
    assert written().items() >= {"store": False}.items()


def test_order_of_wishes_and_of_members_means_nothing() -> None:
    back = dict(reversed(EVERYTHING.items()))
    bodies = {
        write_request(Conversation(model="m", messages=[HELLO], **each), model(), Account()).body
        for each in (EVERYTHING, back)
    }
    assert len(bodies) == 1
