"""Against OpenAI's own types: each field has its place, questions are theirs, answers are read."""

import json
from typing import Any, get_type_hints

import openai.types as legacy
import openai.types.chat as sdk
import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming as ChatParams,
)
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming as TextParams,
)
from pydantic import TypeAdapter

from enclave_server.chat.conversation import (
    AnyObject,
    Continuation,
    Conversation,
    File,
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
from enclave_server.chat.dialects.openai_chat.answers import ChunkReader, read_answer
from enclave_server.chat.dialects.openai_chat.requests import write_request
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import find_profile
from enclave_server.chat.surfaces import chat_shapes, completions, dropped, shapes
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.surface import Identity
from protocol.event_stream import DONE, encode_event
from tests.support.upstream_connection import upstream_at

# What is asked of nobody; with what is read and what is dropped it is all that there is.
REFUSED = {
    "audio",
    "function_call",
    "functions",
    "moderation",
    "prediction",
    "web_search_options",
}

READ: dict[Any, tuple[Any, frozenset[str], set[str]]] = {
    ChatParams: (chat_shapes.ChatRequest, dropped.OF_REQUEST, REFUSED),
    CompletionCreateParamsStreaming: (chat_shapes.ChatRequest, dropped.OF_REQUEST, REFUSED),
    TextParams: (completions.CompletionRequest, dropped.OF_REQUEST, set()),
    sdk.ChatCompletionSystemMessageParam: (
        chat_shapes.SystemMessage,
        dropped.OF_MESSAGE,
        set(),
    ),
    sdk.ChatCompletionDeveloperMessageParam: (
        chat_shapes.DeveloperMessage,
        dropped.OF_MESSAGE,
        set(),
    ),
    sdk.ChatCompletionUserMessageParam: (chat_shapes.UserMessage, dropped.OF_MESSAGE, set()),
    sdk.ChatCompletionAssistantMessageParam: (
        chat_shapes.AssistantMessage,
        dropped.OF_MESSAGE,
        {"function_call"},
    ),
    sdk.ChatCompletionToolMessageParam: (chat_shapes.ToolMessage, dropped.OF_MESSAGE, set()),
    sdk.ChatCompletionContentPartTextParam: (chat_shapes.TextPart, dropped.OF_PART, set()),
    sdk.ChatCompletionContentPartImageParam: (chat_shapes.ImagePart, dropped.OF_PART, set()),
    sdk.ChatCompletionContentPartRefusalParam: (
        chat_shapes.RefusalPart,
        dropped.OF_PART,
        set(),
    ),
    sdk.ChatCompletionMessageFunctionToolCallParam: (
        chat_shapes.GivenCall,
        dropped.OF_CALL,
        set(),
    ),
    sdk.ChatCompletionFunctionToolParam: (chat_shapes.FunctionTool, dropped.OF_TOOL, set()),
    sdk.ChatCompletionStreamOptionsParam: (
        shapes.StreamOptions,
        dropped.OF_STREAM_OPTIONS,
        set(),
    ),
}


@pytest.mark.parametrize("theirs", READ, ids=lambda kind: kind.__name__)
def test_each_of_their_fields_is_read_dropped_or_refused(theirs: Any) -> None:
    shape, silent, refused = READ[theirs]
    known = {*get_type_hints(theirs)} - {shape.__struct_config__.tag_field}
    assert known - {*shape.__struct_fields__} - silent == refused


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ASKED: dict[str, dict[str, Any]] = {
    "limits": {"max_tokens": 5, "temperature": 0.5, "top_p": 0.5, "n": 2, "stop": ["a"], "seed": 1},
    "biases": {"logit_bias": {"7": 1.0}, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    "likelihoods": {"logprobs": True, "top_logprobs": 2},
    "tools": {
        "tools": [Tool("f", "does", SCHEMA, strict=True)],
        "tool_choice": ToolNamed("f"),
        "parallel_tool_calls": False,
    },
    "an object": {"response_format": AnyObject(), "verbosity": "low"},
    "a schema": {"response_format": ObjectOf("s", schema=SCHEMA), "reasoning_effort": "high"},
}
MESSAGES = [
    Message("system", "Be brief."),
    Message("developer", [Text("Be kind.")]),
    Message("user", [Text("a"), Image("data:image/png;base64,AA==", "low"), File("JVBERi0=")]),
    Message("assistant", None, calls=[ToolCall(0, "f", "{}")]),
    Message("tool", "1", result_of=0),
    Message("assistant", [Text("b"), Refusal("no")], "no"),
]


@pytest.mark.parametrize("profile", ["openai", "azure"])
@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked_is_theirs_without_loss(case: str, profile: str) -> None:
    model = Model("m", upstream_at("unix:/x"), "there", profile=find_profile(profile))
    question = Conversation(model="m", messages=MESSAGES, **ASKED[case])
    body = json.loads(write_request(question, model, Account()).body)
    assert body.keys() <= {*get_type_hints(ChatParams)}
    messages, tools = body.pop("messages"), body.pop("tools", [])
    assert [message_of(each) for each in messages] == messages
    assert [plain(sdk.ChatCompletionFunctionToolParam, each) for each in tools] == tools
    rest = TypeAdapter(ChatParams).validate_python({**body, "messages": []})
    assert {name: rest[name] for name in body} == body  # type: ignore[literal-required]


PARTS = {
    "content": sdk.ChatCompletionContentPartParam | sdk.ChatCompletionContentPartRefusalParam,
    "tool_calls": sdk.ChatCompletionMessageToolCallUnionParam,
}


def message_of(message: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of a message that was read as theirs.

    What they iterate over pydantic reads lazily, and a union reads it twice: so part by part.
    """
    lists = {name: value for name, value in message.items() if isinstance(value, list)}
    read = plain(sdk.ChatCompletionMessageParam, message | {name: [] for name in lists})
    return {
        **{name: read[name] for name in message},
        **{name: [plain(PARTS[name], part) for part in value] for name, value in lists.items()},
    }


def plain(kind: Any, value: Any) -> Any:
    """Return what is left of a value that was read as one of their types."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    return json.loads(adapter.dump_json(adapter.validate_python(value)))


MESSAGE: dict[str, Any] = {
    "role": "assistant",
    "content": "Paris.",
    "refusal": None,
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
COMMON: dict[str, Any] = {"id": "x", "created": 1, "model": "there"}


def test_what_they_answer_is_read() -> None:
    usage = {
        "prompt_tokens": 1,
        "completion_tokens": 3,
        "total_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    choice = {"index": 0, "message": MESSAGE, "finish_reason": "tool_calls", "logprobs": None}
    said = sdk.ChatCompletion.model_validate(
        {**COMMON, "object": "chat.completion", "choices": [choice], "usage": usage}
    )
    answer = read_answer(Conversation, said.model_dump_json().encode())
    (read,) = answer.choices
    assert (read.message.content, read.finish_reason) == ("Paris.", "tool_calls")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 4


def test_what_they_stream_is_read() -> None:
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"content": "Paris."},
        {"tool_calls": [{**MESSAGE["tool_calls"][0], "index": 0}]},
        {},
    ]
    reader, words = ChunkReader(Conversation), ""
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "tool_calls"}
        chunk = sdk.ChatCompletionChunk.model_validate(
            {**COMMON, "object": "chat.completion.chunk", "choices": [choice]}
        )
        for event in reader.feed(encode_event(chunk.model_dump_json().encode())):
            words += event.choices[0].delta.content or ""
    assert words == "Paris."
    assert [event.ends for event in reader.feed(encode_event(DONE.encode()))] == [True]


def test_what_we_answer_is_theirs() -> None:
    said = {**MESSAGE, "reasoning_content": "Hm"}
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1}}).encode()
    answer = read_answer(Conversation, body)
    written = ChatCompletions().write(answer, Identity("chatcmpl-1", 5, "m"), {"tee_id": "x"})
    theirs = sdk.ChatCompletion.model_validate_json(written, strict=True)
    assert theirs.choices[0].message.tool_calls is not None
    assert theirs.choices[0].message.model_extra == {"reasoning_content": "Hm"}
    assert json.loads(theirs.model_dump_json(exclude_unset=True)) == json.loads(written)


def test_continuations_are_theirs() -> None:
    choice = {"index": 0, "text": "a", "finish_reason": "stop", "logprobs": None}
    said = {**COMMON, "object": "text_completion", "choices": [choice]}
    body = legacy.Completion.model_validate(said).model_dump_json().encode()
    written = completions.Completions().write(
        read_answer(Continuation, body), Identity("cmpl-1", 5, "m"), {}
    )
    assert legacy.Completion.model_validate_json(written, strict=True).choices[0].text == "a"
