"""Requests of OpenAI's API: the neutral form's members, written in one way whoever wrote them.

Two people's identical prompts leave byte-identical bodies in byte-identical HTTP requests; where a
cache is kept apart for each request, but for its salt.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from enclave_server.chat.conversation import (
    AnyObject,
    AnyQuestion,
    AnyText,
    Conversation,
    Format,
    ObjectOf,
    Tool,
    ToolChoice,
    ToolNamed,
)
from enclave_server.chat.dialects.bearer import account_fields
from enclave_server.chat.dialects.cache_salt import fresh_salt
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.dialects.openai_chat.members import CHAT_MEMBERS, TEXT_MEMBERS
from enclave_server.chat.dialects.openai_chat.messages import write_messages
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import Profile
from protocol.registry import EVENT_STREAM, JSON

# What completions, which keep nothing, refuse as unknown.
OF_CHATS_ALONE = frozenset({"store", "prompt_cache_options"})

Json = dict[str, Any]


def write_request(question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
    """Return the request for `question`; the name of the model is the upstream's own."""
    profile = model.profile
    if isinstance(question, Conversation):
        path, body = "/chat/completions", _members(question, CHAT_MEMBERS)
        body["messages"] = write_messages(question.messages, profile)
        body = {profile.renamed.get(name, name): value for name, value in body.items()}
        retention = profile.retention
    else:
        path, body = "/completions", _members(question, TEXT_MEMBERS)
        retention = kept_from_keeping(profile)
    body["model"] = model.upstream_name
    accept = JSON
    if question.stream:
        accept, body["stream"] = EVENT_STREAM, True
    if question.usage and profile.counts_when_asked:
        body["stream_options"] = {"include_usage": True}
    body |= question.sampling or {}
    body |= retention
    if profile.cache_salt:
        body["cache_salt"] = fresh_salt()
    return UpstreamRequest(path, account_fields(account), msgspec.json.encode(body), accept)


def kept_from_keeping(profile: Profile) -> Json:
    """Return what is set where an answer is no chat, so that its provider keeps nothing."""
    return {n: v for n, v in profile.retention.items() if n not in OF_CHATS_ALONE}


def _members(question: AnyQuestion, names: tuple[str, ...]) -> Json:
    """Return what `question` says under these names, which the neutral form has from this API."""
    members = {}
    for name in names:
        value = getattr(question, name)
        if value is not None:
            members[name] = _WRITERS[name](value) if name in _WRITERS else value
    return members


def _stops(stop: str | list[str]) -> list[str]:
    return [stop] if isinstance(stop, str) else stop


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
    "stop": _stops,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _format,
}
