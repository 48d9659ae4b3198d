"""The dialect against Anthropic's own types: what is asked is theirs, what they say is read."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import anthropic.types as sdk
import pytest
from anthropic import __version__
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from msgspec.structs import replace
from pydantic import TypeAdapter

from enclave_server.chat.conversation import Conversation, Image, Message
from enclave_server.chat.dialects.anthropic.answers import REASONS, read_answer
from enclave_server.chat.dialects.anthropic.dialect import DIRECT
from enclave_server.chat.dialects.anthropic.events import EventReader
from enclave_server.chat.dialects.anthropic.messages import NAME
from enclave_server.chat.dialects.blocks import gather
from enclave_server.chat.dialects.dialect import Account
from tests.support.anthropic_messages import CONTENTS, answered, message, read, sse
from tests.support.conversations import asked, cases, model

Json = dict[str, Any]

# Of older models; the newest SDK has no place for them.
OLDER = {"temperature", "top_p", "top_k"}

# What is done about each field: said for a client (mapped), said for the gateway itself (set),
# never said since it changes no answer or tells who asks (dropped), or not to be had (refused).
MAPPED, SET, DROPPED, REFUSED = "mapped", "set", "dropped", "refused"
REQUEST = {
    "model": MAPPED,
    "max_tokens": MAPPED,
    "messages": MAPPED,
    "system": MAPPED,
    "stop_sequences": MAPPED,
    "stream": MAPPED,
    "thinking": MAPPED,
    "tool_choice": MAPPED,
    "tools": MAPPED,
    "output_config": MAPPED,
    "inference_geo": SET,
    "service_tier": DROPPED,
    "speed": DROPPED,
    "cache_control": DROPPED,
    "diagnostics": DROPPED,
    "metadata": DROPPED,
    "user_profile_id": DROPPED,
    "workspace_id": DROPPED,
    "container": REFUSED,
}
CACHED = {"cache_control": DROPPED}
TYPES: dict[Any, dict[str, str]] = {
    MessageCreateParamsNonStreaming: REQUEST,
    MessageCreateParamsStreaming: REQUEST,
    sdk.UserMessageParam: {"role": MAPPED, "content": MAPPED},
    sdk.AssistantMessageParam: {"role": MAPPED, "content": MAPPED},
    sdk.SystemMessageParam: {"role": MAPPED, "content": MAPPED},
    sdk.TextBlockParam: {"type": MAPPED, "text": MAPPED, "citations": DROPPED, **CACHED},
    sdk.ImageBlockParam: {"type": MAPPED, "source": MAPPED, "transformations": REFUSED, **CACHED},
    sdk.Base64ImageSourceParam: {"type": MAPPED, "media_type": MAPPED, "data": MAPPED},
    sdk.URLImageSourceParam: {"type": MAPPED, "url": MAPPED},
    sdk.DocumentBlockParam: {
        "type": MAPPED,
        "source": MAPPED,
        "title": DROPPED,
        "context": REFUSED,
        "citations": REFUSED,
        **CACHED,
    },
    sdk.Base64PDFSourceParam: {"type": MAPPED, "media_type": MAPPED, "data": MAPPED},
    sdk.ThinkingBlockParam: {"type": MAPPED, "thinking": MAPPED, "signature": MAPPED},
    sdk.RedactedThinkingBlockParam: {"type": MAPPED, "data": MAPPED},
    sdk.ToolUseBlockParam: {
        "type": MAPPED,
        "id": MAPPED,
        "name": MAPPED,
        "input": MAPPED,
        "caller": DROPPED,
        "toolset_name": REFUSED,
        **CACHED,
    },
    sdk.ToolResultBlockParam: {
        "type": MAPPED,
        "tool_use_id": MAPPED,
        "content": MAPPED,
        "is_error": MAPPED,
        "toolset_name": REFUSED,
        **CACHED,
    },
    sdk.ToolParam: {
        "name": MAPPED,
        "description": MAPPED,
        "input_schema": MAPPED,
        "strict": MAPPED,
        "type": DROPPED,
        "eager_input_streaming": DROPPED,
        "allowed_callers": REFUSED,
        "defer_loading": REFUSED,
        "input_examples": REFUSED,
        **CACHED,
    },
    sdk.ToolChoiceAutoParam: {"type": MAPPED, "disable_parallel_tool_use": MAPPED},
    sdk.ToolChoiceAnyParam: {"type": MAPPED, "disable_parallel_tool_use": MAPPED},
    sdk.ToolChoiceToolParam: {
        "type": MAPPED,
        "name": MAPPED,
        "disable_parallel_tool_use": MAPPED,
    },
    sdk.ToolChoiceNoneParam: {"type": MAPPED},
    sdk.ThinkingConfigAdaptiveParam: {"type": MAPPED, "display": SET},
    sdk.ThinkingConfigEnabledParam: {"type": MAPPED, "budget_tokens": MAPPED, "display": DROPPED},
    sdk.ThinkingConfigDisabledParam: {"type": MAPPED},
    sdk.OutputConfigParam: {"effort": MAPPED, "format": MAPPED},
    sdk.JSONOutputFormatParam: {"type": MAPPED, "schema": MAPPED},
}

# Types of blocks, tools and the rest that are never said: their servers are Anthropic's own tools.
NEVER = {
    sdk.ContentBlockParam: {
        "SearchResultBlockParam",
        "ServerToolUseBlockParam",
        "WebSearchToolResultBlockParam",
        "WebFetchToolResultBlockParam",
        "CodeExecutionToolResultBlockParam",
        "BashCodeExecutionToolResultBlockParam",
        "TextEditorCodeExecutionToolResultBlockParam",
        "ToolSearchToolResultBlockParam",
        "ContainerUploadBlockParam",
    },
    sdk.ThinkingConfigParam: {"ThinkingConfigBetweenToolsParam"},
    sdk.ToolChoiceParam: set(),
    sdk.MessageParam: set(),
}


def requests() -> Iterator[tuple[str, Json]]:
    """Yield everything that can be asked, by its name."""
    asks: dict[str, Conversation] = cases(NAME)
    remote = Message("user", [Image("https://x/y.png")])
    for name, question in asks.items():
        for stream in (False, True):
            yield name, body(replace(question, stream=stream))
    yield "remote", body(asked(remote), remote_images=True)
    yield "budget", body(asked(reasoning_effort="low", max_tokens=2000), thinking="budget")
    for choice in ("required", "auto"):
        one = asked(tools=asks["tools"].tools, tool_choice=choice, parallel_tool_calls=False)
        yield choice, body(one)
    named = replace(asks["a named call"], parallel_tool_calls=False)
    yield "named", body(named)
    yield "geo", body(asked(), retention={"inference_geo": "eu"})


def body(question: Conversation, **profile: Any) -> Json:
    request = DIRECT.request(question, model(**profile), Account())
    said: Json = json.loads(request.body)
    return said


def listed(value: Any) -> Any:
    """Return `value` with lists where pydantic has iterators, which check as they go."""
    if isinstance(value, dict):
        return {name: listed(member) for name, member in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [listed(item) for item in value]
    return value


def members(value: Any) -> Iterator[Json]:
    """Yield all objects in `value`, but for those of schemas and arguments, which are anybody's."""
    if isinstance(value, dict):
        yield value
        for name, member in value.items():
            if name not in ("input_schema", "schema", "input"):
                yield from members(member)
    elif isinstance(value, list):
        for item in value:
            yield from members(item)


REQUESTS = list(requests())

# Kept: pydantic's iterators outlive no adapter.
ADAPTERS: tuple[TypeAdapter[Any], ...] = (
    TypeAdapter(MessageCreateParamsNonStreaming),
    TypeAdapter(MessageCreateParamsStreaming),
)
EVENTS: TypeAdapter[Any] = TypeAdapter(sdk.RawMessageStreamEvent)


@pytest.mark.parametrize(("name", "said"), REQUESTS, ids=[name for name, _ in REQUESTS])
def test_requests_are_parsed_by_the_sdk_without_loss(name: str, said: Json) -> None:
    parsed = listed(ADAPTERS["stream" in said].validate_python(said))
    assert parsed == {field: value for field, value in said.items() if field not in OLDER}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_field_of_the_sdk_is_decided_on(kind: Any) -> None:
    assert kind.__annotations__.keys() == TYPES[kind].keys(), f"anthropic {__version__}"


@pytest.mark.parametrize("union", NEVER, ids=str)
def test_every_type_of_the_sdk_is_decided_on(union: Any) -> None:
    known = {kind.__name__ for kind in TYPES} | NEVER[union]
    params = {kind.__name__ for kind in get_args(union) if kind.__name__.endswith("Param")}
    assert params - known == set(), f"anthropic {__version__}"


def test_fields_are_said_as_it_is_decided() -> None:
    said = {name for _, request in REQUESTS for told in members(request) for name in told}
    decided = [(field, what) for fields in TYPES.values() for field, what in fields.items()]
    told = {field for field, decision in decided if decision in (MAPPED, SET)}
    kept = {field for field, decision in decided if decision in (DROPPED, REFUSED)}
    assert told - said == set()
    assert (kept - told) & said == set()
    assert said - told == OLDER


@pytest.mark.parametrize("case", CONTENTS)
def test_answers_that_the_sdk_writes_are_read(case: str) -> None:
    reason, content = CONTENTS[case]
    if case == "an unknown block":
        return
    written = sdk.Message.model_validate(message(content, reason)).model_dump_json().encode()
    plain = read_answer(json.dumps(message(content, reason)).encode())
    assert read_answer(written) == plain


@pytest.mark.parametrize("case", CONTENTS)
def test_events_that_the_sdk_writes_are_read(case: str) -> None:
    reason, content = CONTENTS[case]
    if case == "an unknown block":
        return
    events = [event for event in answered(content, reason) if event["type"] != "ping"]
    written = [
        json.loads(EVENTS.dump_json(EVENTS.validate_python(event)))
        for event in events
        if event.get("delta", {}).get("type") != "citations_delta"
    ]
    assert gather(read(EventReader(), sse(written)), None) == gather(
        read(EventReader(), sse(events)), None
    )


def test_every_reason_of_the_sdk_is_decided_on() -> None:
    # The server's own tools alone make a turn that has to be gone on with.
    assert {*get_args(sdk.StopReason)} == {*REASONS, "pause_turn"}
