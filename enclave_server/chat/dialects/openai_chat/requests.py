"""Requests of OpenAI's API: the neutral form's members, written in one way whoever wrote them.

Two people's identical prompts leave byte-identical bodies in byte-identical HTTP requests.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from enclave_server.chat.conversation import (
    AnyObject,
    AnyQuestion,
    AnyText,
    Conversation,
    File,
    Format,
    Image,
    Message,
    ObjectOf,
    Part,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolNamed,
)
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.models import Model
from protocol.binary_http import Fields
from protocol.registry import EVENT_STREAM, JSON

ACCOUNT_FIELDS = {"organization": b"OpenAI-Organization", "project": b"OpenAI-Project"}

# Of every file: what it is called at home tells whose it is.
FILE_NAME = "document.pdf"

Json = dict[str, Any]


# The members of `POST /chat/completions` in the order in which they leave.
CHAT_MEMBERS = (
    "model",
    "messages",
    "temperature",
    "top_p",
    "n",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "modalities",
)

# Those of `POST /completions`.
TEXT_MEMBERS = (
    "model",
    "prompt",
    "suffix",
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "best_of",
    "stop",
    "echo",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "logprobs",
)


def write_request(question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
    """Return the request for `question`; the name of the model is the upstream's own."""
    if isinstance(question, Conversation):
        path, body = "/chat/completions", _members(question, CHAT_MEMBERS)
    else:
        path, body = "/completions", _members(question, TEXT_MEMBERS)
    body["model"] = model.upstream_name
    accept = JSON
    if question.stream:
        accept, body["stream"] = EVENT_STREAM, True
    if question.usage:
        body["stream_options"] = {"include_usage": True}
    return UpstreamRequest(path, _fields(account), msgspec.json.encode(body), accept)


def _members(question: AnyQuestion, names: tuple[str, ...]) -> Json:
    """Return what `question` says under these names, which the neutral form has from this API."""
    members = {}
    for name in names:
        value = getattr(question, name)
        if value is not None:
            members[name] = _WRITERS[name](value) if name in _WRITERS else value
    return members


def _fields(account: Account) -> Fields:
    settings = tuple(
        (ACCOUNT_FIELDS[name], value.encode("ascii"))
        for name, value in sorted(account.settings.items())
    )
    if account.key is None:
        return settings
    return ((b"Authorization", b"Bearer " + account.key.encode("ascii")), *settings)


def _messages(messages: list[Message]) -> list[Json]:
    return [_message(message) for message in messages]


def _message(message: Message) -> Json:
    written: Json = {"role": message.role}
    if message.content is not None:
        content = message.content
        written["content"] = (
            content if isinstance(content, str) else [_part(part) for part in content]
        )
    if message.refusal is not None:
        written["refusal"] = message.refusal
    if message.calls:
        written["tool_calls"] = [_call(call) for call in message.calls]
    if message.result_of is not None:
        written["tool_call_id"] = _identifier(message.result_of)
    return written


def _part(part: Part) -> Json:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image(url=url, detail=None):
            return {"type": "image_url", "image_url": {"url": url}}
        case Image(url=url, detail=detail):
            return {"type": "image_url", "image_url": {"url": url, "detail": detail}}
        case File(data=data, media_type=media_type):
            url = f"data:{media_type};base64,{data}"
            return {"type": "file", "file": {"filename": FILE_NAME, "file_data": url}}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}


def _identifier(number: int) -> str:
    # Nine letters and digits: the form that every provider accepts.
    return f"call{number:05d}"


def _call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"type": "function", "id": _identifier(call.number), "function": function}


def _tools(tools: list[Tool]) -> list[Json]:
    return [_tool(tool) for tool in tools]


def _tool(tool: Tool) -> Json:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": _without_nulls(function)}


def _tool_choice(choice: ToolChoice) -> str | Json:
    if isinstance(choice, ToolNamed):
        return {"type": "function", "function": {"name": choice.name}}
    return choice


def _format(wanted: Format) -> Json:
    match wanted:
        case AnyText():
            return {"type": "text"}
        case AnyObject():
            return {"type": "json_object"}
        case ObjectOf():
            named = msgspec.structs.asdict(wanted)
            return {"type": "json_schema", "json_schema": _without_nulls(named)}


def _without_nulls(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


# Members that are said in other words there.
_WRITERS: dict[str, Callable[[Any], object]] = {
    "messages": _messages,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _format,
}
