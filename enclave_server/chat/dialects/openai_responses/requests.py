"""Requests of the Responses API: the neutral form's members, written in one way whoever wrote them.

Two people's identical prompts leave byte-identical bodies in byte-identical HTTP requests; where a
cache is kept apart for each request, but for its salt.
"""

from typing import Any

import msgspec

from enclave_server.chat.called import check_pairs
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
from enclave_server.chat.dialects.openai_responses.items import write_items
from enclave_server.chat.dialects.refusals import unsupported, unsupported_value
from enclave_server.chat.dialects.sampling import further_sampling, temperature_of, top_p_of
from enclave_server.chat.dialects.unsaid import output_limit, refuse
from enclave_server.chat.models import Model
from protocol.registry import EVENT_STREAM, JSON

Json = dict[str, Any]

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

NO_PARAMETERS: Json = {"type": "object", "properties": {}}

# Fields that this API has no word for, and what to do instead.
UNSAID = {
    "n": "It gives one answer: ask several times.",
    "stop": "It knows no stop sequences: leave it out, and cut the answer yourself.",
    "presence_penalty": "Leave it out.",
    "frequency_penalty": "Leave it out.",
    "seed": "Its answers cannot be made the same again: leave it out.",
    "logit_bias": "Leave it out.",
}


def write_request(question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
    """Return the request for `question`; raises ChatError for what the API has no word for."""
    if not isinstance(question, Conversation):
        raise unsupported("prompt", "Send 'messages' to /v1/chat/completions.")
    check_pairs(question.messages)
    refuse(question, UNSAID)
    body = msgspec.json.encode({**model.profile.retention, **_members(question, model)})
    accept = EVENT_STREAM if question.stream else JSON
    return UpstreamRequest("/responses", account_fields(account), body, accept)


def _members(question: Conversation, model: Model) -> Json:
    """Return the members of the body in the order in which they leave."""
    returns = model.profile.reasoning_returns
    members = {
        "model": model.upstream_name,
        "input": write_items(question.messages, reasoning_returns=returns),
        # Left out it means that the provider stores both question and answer for 30 days.
        "store": False,
        "include": _include(question, model),
        "max_output_tokens": output_limit(question, model),
        "temperature": temperature_of(question, model.profile),
        "top_p": top_p_of(question, model.profile),
        **further_sampling(question, {}),
        "top_logprobs": question.top_logprobs or None,
        "tools": [_tool(tool) for tool in question.tools] if question.tools else None,
        "tool_choice": _tool_choice(question.tool_choice),
        "parallel_tool_calls": question.parallel_tool_calls,
        "reasoning": _reasoning(question, model),
        "text": _text(question),
        "stream": question.stream or None,
        "cache_salt": fresh_salt() if model.profile.cache_salt else None,
    }
    return _said(members)


def _include(question: Conversation, model: Model) -> list[str] | None:
    wanted = [ENCRYPTED] if model.reasoning else []
    return [*wanted, LOGPROBS] if question.logprobs else wanted or None


def _reasoning(question: Conversation, model: Model) -> Json | None:
    effort, known = question.reasoning_effort, model.profile.efforts
    if effort is not None and known is not None and effort not in known:
        raise unsupported_value("reasoning_effort", f"It takes {', '.join(known)}.")
    if not model.reasoning:
        return None
    summary = {"summary": "auto"} if effort != "none" else {}
    return summary if effort is None else {"effort": effort, **summary}


def _text(question: Conversation) -> Json | None:
    told = {"format": _format(question.response_format), "verbosity": question.verbosity}
    return _said(told) or None


def _tool(tool: Tool) -> Json:
    written = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or NO_PARAMETERS,
        # Left out it means yes here, and no in chat completions.
        "strict": tool.strict or False,
    }
    return _said(written)


def _tool_choice(choice: ToolChoice | None) -> str | Json | None:
    if isinstance(choice, ToolNamed):
        return {"type": "function", "name": choice.name}
    return choice


def _format(wanted: Format | None) -> Json | None:
    match wanted:
        case None:
            return None
        case AnyText():
            return {"type": "text"}
        case AnyObject():
            return {"type": "json_object"}
        case ObjectOf(schema=schema):
            named = {**msgspec.structs.asdict(wanted), "schema": schema or {}}
            return {"type": "json_schema", **_said(named)}


def _said(members: Json) -> Json:
    return {name: value for name, value in members.items() if value is not None}
