"""What leaves the enclave: the allowed fields, written in one way whoever wrote them.

Two people's identical prompts leave byte-identical bodies in byte-identical HTTP requests.
"""

from typing import Any

import msgspec

from enclave_server.chat.errors import Failure, UpstreamError, invalid
from enclave_server.chat.models import Model, Upstream
from enclave_server.chat.surfaces.schema import (
    AssistantMessage,
    ChatRequest,
    CompletionRequest,
    DeveloperMessage,
    Message,
    StreamOptions,
    SystemMessage,
    ToolMessage,
)
from protocol.binary_http import Fields

# Dropped without a word, since programs send them out of habit. They tell the provider who asks,
# what belongs to the same session, or to keep the prompt. Any other unknown field is refused.
IDENTIFYING = frozenset(
    {
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "store",
        "service_tier",
    }
)

# The participant's name, and what programs echo from an earlier answer.
IDENTIFYING_IN_MESSAGE = frozenset({"name", "annotations", "reasoning", "reasoning_content"})

# Padding of streams is the gateway's own task.
IGNORED_STREAM_OPTIONS = frozenset({"include_obfuscation"})

USER_AGENT = b"oblivious-inference"


def strip(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a request's members without nulls and without what identifies a person or session."""
    kept = _without(fields, IDENTIFYING)
    if isinstance(messages := kept.get("messages"), list):
        kept["messages"] = [_strip_message(message) for message in messages]
    if isinstance(options := kept.get("stream_options"), dict):
        kept["stream_options"] = _without(options, IGNORED_STREAM_OPTIONS)
    return kept


def _strip_message(message: object) -> object:
    if not isinstance(message, dict):
        return message
    kept = _without(message, IDENTIFYING_IN_MESSAGE)
    if isinstance(calls := kept.get("tool_calls"), list):
        # The number that a call had in a stream.
        kept["tool_calls"] = [
            _without(call, frozenset({"index"})) if isinstance(call, dict) else call
            for call in calls
        ]
    return kept


def _without(fields: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {
        name: value for name, value in fields.items() if name not in names and value is not None
    }


def upstream_body(request: ChatRequest | CompletionRequest, model: Model) -> bytes:
    """Return the JSON that goes to the upstream of `model`; raises ChatError 400.

    The name of the model is the upstream's own, tool calls are numbered anew, and the model's
    system prompt comes first where nobody instructs it.
    """
    wanted = request.stream_options is not None and request.stream_options.include_usage
    changes: dict[str, Any] = {
        "model": model.upstream_name,
        "stream": request.stream or None,
        "stream_options": StreamOptions(include_usage=True) if wanted else None,
        # A program's order of tokens means nothing to the model, and tells which program it is.
        "logit_bias": dict(sorted(request.logit_bias.items())) if request.logit_bias else None,
    }
    if isinstance(request, ChatRequest):
        changes["messages"] = [*_system_prompt(request, model), *_renumber(request.messages)]
    return msgspec.json.encode(msgspec.structs.replace(request, **changes))


def _system_prompt(request: ChatRequest, model: Model) -> list[Message]:
    instructed = any(isinstance(m, SystemMessage | DeveloperMessage) for m in request.messages)
    if instructed or model.system_prompt is None:
        return []
    return [SystemMessage(content=model.system_prompt)]


def _renumber(messages: list[Message]) -> list[Message]:
    """Replace the identifiers of tool calls, which an upstream made unique, by their order."""
    numbers: dict[str, str] = {}
    count = 0
    renumbered: list[Message] = []
    for index, message in enumerate(messages):
        if isinstance(message, AssistantMessage) and message.tool_calls is not None:
            calls = []
            for call in message.tool_calls:
                # Nine letters and digits: the form that every provider accepts.
                numbers[call.id] = f"call{count:05d}"
                calls.append(msgspec.structs.replace(call, id=numbers[call.id]))
                count += 1
            message = msgspec.structs.replace(message, tool_calls=calls)
        elif isinstance(message, ToolMessage):
            message = _renumber_result(message, numbers, f"messages[{index}].tool_call_id")
        renumbered.append(message)
    return renumbered


def _renumber_result(message: ToolMessage, numbers: dict[str, str], param: str) -> ToolMessage:
    if message.tool_call_id not in numbers:
        raise invalid(f"'{param}' names no tool call of an earlier message.", param)
    return msgspec.structs.replace(message, tool_call_id=numbers[message.tool_call_id])


def upstream_fields(upstream: Upstream, accept: bytes) -> Fields:
    """Return the HTTP fields of a request to `upstream`, in their order, but for its length.

    Raises UpstreamError if its key is missing.
    """
    return (
        (b"Host", upstream.authority.encode("ascii")),
        (b"Accept", accept),
        (b"Accept-Encoding", b"identity"),
        (b"Content-Type", b"application/json"),
        (b"User-Agent", USER_AGENT),
        *_authorization(upstream),
        *upstream.account(),
    )


def _authorization(upstream: Upstream) -> Fields:
    if upstream.key is None:
        return ()
    if (key := upstream.key()) is None:
        raise UpstreamError(Failure.NO_KEY)
    return ((b"Authorization", b"Bearer " + key.encode("ascii")),)
