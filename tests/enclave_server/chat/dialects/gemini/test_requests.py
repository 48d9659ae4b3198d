"""What Google's servers are sent, held against the types of its own SDK."""

import json
from typing import Any

import pytest
from google.genai import types

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
from enclave_server.chat.dialects.gemini.requests import MAX_STOPS, write_request
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import Profile
from protocol.registry import EVENT_STREAM, JSON
from tests.support.upstream_connection import upstream_at

Json = dict[str, Any]

HELLO = Message("user", "Hello")
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
VERTEX = "/v1/projects/p/locations/global/publishers/google"


def model(name: str = "gemini-3-pro", *, path_prefix: str = "/v1beta", **changes: Any) -> Model:
    return Model("m", upstream_at("unix:/x", path_prefix=path_prefix), name, **changes)


READERS: dict[str, type[Any]] = {
    "systemInstruction": types.Content,
    "toolConfig": types.ToolConfig,
    "generationConfig": types.GenerationConfig,
}


def written(*messages: Message, by: Model | None = None, **wishes: Any) -> Json:
    question = Conversation(model="m", messages=list(messages) or [HELLO], **wishes)
    body: Json = json.loads(write_request(question, by or model(), Account()).body)
    for name, reader in READERS.items():
        if name in body:
            assert lossless(reader, body[name]) == body[name]
    for tool in body.get("tools", ()):
        assert lossless(types.Tool, tool) == tool
    return body


def lossless(reader: type[Any], value: Json) -> Json:
    read = reader.model_validate_json(json.dumps(value))
    again: Json = json.loads(read.model_dump_json(by_alias=True, exclude_none=True))
    return again


def generation(**wishes: Any) -> Json:
    config: Json = written(**wishes)["generationConfig"]
    return config


def refused(*messages: Message, by: Model | None = None, **wishes: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        written(*messages, by=by, **wishes)
    assert caught.value.status == 400
    return caught.value


def test_what_is_not_said_is_left_out() -> None:
    assert written() == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
        "store": False,
    }
    assert written(by=model("gemini-2.0-flash")).keys() == {"contents", "store"}


def test_instructions_stand_apart() -> None:
    body = written(Message("system", "Be brief."), HELLO)
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}


@pytest.mark.parametrize(
    ("by", "stream", "path", "accept"),
    [
        (model(), False, "/models/gemini-3-pro:generateContent", JSON),
        (model(), True, "/models/gemini-3-pro:streamGenerateContent?alt=sse", EVENT_STREAM),
        (model("tunedModels/my own?"), False, "/tunedModels/my%20own%3F:generateContent", JSON),
    ],
)
def test_model_and_kind_of_answer_are_in_the_path(
    by: Model, stream: bool, path: str, accept: bytes
) -> None:
    question = Conversation(model="m", messages=[HELLO], stream=stream, usage=stream)
    request = write_request(question, by, Account("k"))
    assert (request.path, request.accept) == (path, accept)
    assert request.fields == ((b"x-goog-api-key", b"k"),)


def test_vertex_is_paid_by_a_bearer_token_and_knows_no_store() -> None:
    question = Conversation(model="m", messages=[HELLO])
    request = write_request(question, model(path_prefix=VERTEX), Account("ya29.k"))
    assert request.fields == ((b"Authorization", b"Bearer ya29.k"),)
    assert request.path == "/models/gemini-3-pro:generateContent"
    assert "store" not in json.loads(request.body)
    assert write_request(question, model(), Account()).fields == ()


WISHES: dict[str, tuple[Json, Json]] = {
    "answers": ({"n": 3}, {"candidateCount": 3}),
    "one answer": ({"n": 1}, {}),
    "a limit": ({"max_tokens": 9}, {"maxOutputTokens": 9}),
    "a limit by its newer name": ({"max_completion_tokens": 9}, {"maxOutputTokens": 9}),
    "temperature": ({"temperature": 2.0, "top_p": 0.5}, {"temperature": 2.0, "topP": 0.5}),
    "top_k": ({"sampling": {"top_k": 40}}, {"topK": 40}),
    "a stop": ({"stop": "x"}, {"stopSequences": ["x"]}),
    "stops": ({"stop": ["x", "y"]}, {"stopSequences": ["x", "y"]}),
    "a seed": ({"seed": -(2**31)}, {"seed": -(2**31)}),
    "penalties": (
        {"presence_penalty": 0.5, "frequency_penalty": -0.5},
        {"presencePenalty": 0.5, "frequencyPenalty": -0.5},
    ),
    "no penalties": ({"presence_penalty": 0.0, "frequency_penalty": 0.0}, {}),
    "likelihoods": (
        {"logprobs": True, "top_logprobs": 3},
        {"responseLogprobs": True, "logprobs": 3},
    ),
    "effort": (
        {"reasoning_effort": "low"},
        {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"}},
    ),
    "text": ({"response_format": AnyText(), "modalities": ["text"]}, {}),
    "an object": ({"response_format": AnyObject()}, {"responseMimeType": "application/json"}),
    "an object of a schema": (
        {"response_format": ObjectOf("s", "is", SCHEMA, strict=True)},
        {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
    ),
    "an object of no schema": (
        {"response_format": ObjectOf("s")},
        {"responseMimeType": "application/json"},
    ),
}


@pytest.mark.parametrize("case", WISHES)
def test_wishes_are_said_in_its_words(case: str) -> None:
    wishes, expected = WISHES[case]
    assert generation(**wishes) == {**generation(), **expected}


def test_limit_of_the_model_is_asked_for_where_the_client_names_none() -> None:
    assert generation(by=model(output_limit=7))["maxOutputTokens"] == 7


FUNCTION = {"name": "f", "description": "does", "parametersJsonSchema": SCHEMA}


def test_functions() -> None:
    tools = [Tool("f", "does", SCHEMA), Tool("_g")]
    body = written(tools=tools)
    assert body["tools"] == [{"functionDeclarations": [FUNCTION, {"name": "_g"}]}]
    assert "toolConfig" not in body


@pytest.mark.parametrize(
    ("choice", "strict", "calling"),
    [
        ("auto", False, {"mode": "AUTO"}),
        ("none", True, {"mode": "NONE"}),
        ("required", True, {"mode": "ANY"}),
        (ToolNamed("f"), False, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (None, True, {"mode": "VALIDATED"}),
        ("auto", True, {"mode": "VALIDATED"}),
    ],
)
def test_choice_of_functions(choice: Any, strict: bool, calling: Json) -> None:
    body = written(tools=[Tool("g"), Tool("f", strict=strict)], tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": calling}


def test_choice_of_no_functions_is_none() -> None:
    assert "toolConfig" not in written(tool_choice="auto", parallel_tool_calls=False)


@pytest.mark.parametrize("name", ["1f", "-f", "f" * 129])
def test_functions_names_begin_with_a_letter(name: str) -> None:
    assert refused(tools=[Tool("f"), Tool(name)]).param == "tools[1].function.name"


UNSAYABLE: dict[str, Json] = {
    "logit_bias": {"logit_bias": {"1": 2.0}},
    "verbosity": {"verbosity": "low"},
    "min_p": {"sampling": {"top_k": 3, "min_p": 0.5}},
    "max_tokens": {"max_tokens": 1, "max_completion_tokens": 2},
    "stop": {"stop": ["x"] * (MAX_STOPS + 1)},
    "seed": {"seed": 2**31},
    "parallel_tool_calls": {"parallel_tool_calls": False, "tools": [Tool("f")]},
    "reasoning_effort": {"reasoning_effort": "max"},
}


@pytest.mark.parametrize("name", UNSAYABLE)
def test_what_it_has_no_word_for_is_refused_by_its_name(name: str) -> None:
    assert refused(**UNSAYABLE[name]).param == name


def test_temperature_out_of_the_providers_range_is_refused() -> None:
    by = model(profile=Profile(temperature="one"))
    assert refused(by=by, temperature=1.5).param == "temperature"


def test_prompts_are_refused() -> None:
    with pytest.raises(ChatError) as caught:
        write_request(Continuation(model="m", prompt="x"), model(), Account())
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    "messages",
    [
        [HELLO, Message("assistant", calls=[ToolCall(0, "f", "{}")]), HELLO],
        [HELLO, Message("tool", "x", result_of=0)],
    ],
)
def test_calls_and_results_come_in_pairs(messages: list[Message]) -> None:
    assert (refused(*messages).param or "").startswith("messages[")


# What becomes of the members of each of the SDK's types that are sent; what is in neither of the
# three is not there.
MAPPED: dict[str, set[str]] = {
    "GenerateContentConfig": {
        "candidate_count",
        "frequency_penalty",
        "logprobs",
        "max_output_tokens",
        "presence_penalty",
        "response_json_schema",
        "response_logprobs",
        "response_mime_type",
        "seed",
        "stop_sequences",
        "system_instruction",
        "temperature",
        "thinking_config",
        "tool_config",
        "tools",
        "top_k",
        "top_p",
    },
    "Content": {"parts", "role"},
    "Part": {"function_call", "function_response", "inline_data", "text", "thought_signature"},
    "Blob": {"data", "mime_type"},
    "FunctionCall": {"args", "name"},
    "FunctionResponse": {"name", "response"},
    "Tool": {"function_declarations"},
    "FunctionDeclaration": {"description", "name", "parameters_json_schema"},
    "ToolConfig": {"function_calling_config"},
    "FunctionCallingConfig": {"allowed_function_names", "mode"},
    "ThinkingConfig": {"include_thoughts", "thinking_budget", "thinking_level"},
}

SET = {"GenerateContentConfig": {"store"}}

NEVER: dict[str, set[str]] = {
    # Identifies, keeps, bills, runs elsewhere, is another word for what is mapped, or is the SDK's.
    "GenerateContentConfig": {
        "audio_timestamp",
        "audio_transcription_config",
        "automatic_continuation",
        "automatic_function_calling",
        "cached_content",
        "continuation_token",
        "enable_enhanced_civic_answers",
        "generation_output_config",
        "http_options",
        "image_config",
        "labels",
        "media_resolution",
        "model_armor_config",
        "model_selection_config",
        "response_modalities",
        "response_schema",
        "routing_config",
        "safety_settings",
        "service_tier",
        "should_return_http_response",
        "speech_config",
    },
    "Part": {
        "audio_metadata",
        "audio_transcription",
        "code_execution_result",
        "document_metadata",
        "executable_code",
        "file_data",
        "media_processing",
        "media_resolution",
        "part_metadata",
        "speech_metadata",
        "spreadsheet_metadata",
        "thought",
        "tool_call",
        "tool_response",
        "video_metadata",
    },
    "Blob": {"display_name"},
    "FunctionCall": {"id", "partial_args", "will_continue"},
    "FunctionResponse": {"id", "parts", "scheduling", "will_continue"},
    "Tool": {
        "code_execution",
        "computer_use",
        "enterprise_web_search",
        "exa_ai_search",
        "file_search",
        "google_maps",
        "google_search",
        "google_search_retrieval",
        "mcp_servers",
        "parallel_ai_search",
        "retrieval",
        "url_context",
    },
    "FunctionDeclaration": {"behavior", "parameters", "response", "response_json_schema"},
    "ToolConfig": {"include_server_side_tool_invocations", "retrieval_config"},
    "FunctionCallingConfig": {"stream_function_call_arguments"},
}


@pytest.mark.parametrize("name", MAPPED)
def test_every_member_of_the_sdks_types_is_mapped_set_or_never_sent(name: str) -> None:
    known = MAPPED[name], SET.get(name, set()), NEVER.get(name, set())
    members = set(getattr(types, name).model_fields)
    assert members == set().union(*known)
    assert len(members) == sum(map(len, known))


EVERYTHING: Json = {name: value for each, _ in WISHES.values() for name, value in each.items()} | {
    "tools": [Tool("f", "does", SCHEMA)],
    "tool_choice": ToolNamed("f"),
    "response_format": ObjectOf("s", schema=SCHEMA),
    "n": 2,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "max_completion_tokens": 9,
}


def test_all_that_is_mapped_is_sent() -> None:
    body = written(Message("system", "Be brief."), HELLO, **EVERYTHING)
    flat = {**body, **body["generationConfig"]}
    sent = flat.keys() - {"contents", "generationConfig"}
    config = types.GenerateContentConfig.model_fields
    names = {field.alias or name: name for name, field in config.items()}
    assert {names[each] for each in sent} == {
        *MAPPED["GenerateContentConfig"],
        *SET["GenerateContentConfig"],
    }


def test_order_of_wishes_means_nothing() -> None:
    bodies = {
        write_request(Conversation(model="m", messages=[HELLO], **each), model(), Account()).body
        for each in (EVERYTHING, dict(reversed(EVERYTHING.items())))
    }
    assert len(bodies) == 1
