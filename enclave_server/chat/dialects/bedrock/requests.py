"""Requests of Converse: the neutral form's members, in one order whoever asks.

What Converse has no word for and Anthropic's models know goes into `additionalModelRequestFields`.
"""

from typing import Any

import msgspec

from enclave_server.chat.conversation import AnyObject, Conversation, Format, ObjectOf, Tool
from enclave_server.chat.dialects.anthropic.requests import (
    NO_PARAMETERS,
    OUTPUT_LIMIT,
    further_sampling,
    schema_of,
    stops_of,
    tool_choice,
)
from enclave_server.chat.dialects.anthropic.thinking import EFFORTS, check_level, thinking_of
from enclave_server.chat.dialects.bedrock.messages import write_messages
from enclave_server.chat.dialects.refusals import unsupported, unsupported_value
from enclave_server.chat.dialects.unsaid import OF_ONE_ANSWER, nucleus, output_limit, refuse
from enclave_server.chat.models import Model

Json = dict[str, Any]

NAMES = {"temperature": "temperature", "top_p": "topP"}


def write_body(question: Conversation, model: Model) -> Json:
    """Return the body of a request; raises ChatError for what cannot be said."""
    refuse(question, OF_ONE_ANSWER)
    limit = output_limit(question, model)
    members = {
        **write_messages(question, model.profile),
        "inferenceConfig": _inference(question, model, limit),
        "toolConfig": _tools(question),
        "outputConfig": {**_output(question.response_format), **_effort(question, model)},
        "additionalModelRequestFields": _further(question, model, limit),
        **model.profile.retention,
    }
    return {name: value for name, value in members.items() if value}


def _inference(question: Conversation, model: Model, limit: int | None) -> Json:
    told = nucleus(question, model.profile)
    stops = stops_of(question.stop)
    return {
        **({} if limit is None else {"maxTokens": limit}),
        **{NAMES[name]: value for name, value in told.items()},
        **({"stopSequences": stops} if stops else {}),
    }


def _tools(question: Conversation) -> Json | None:
    chosen = tool_choice(question)
    if not question.tools or chosen["type"] == "none":
        if question.tools and any(message.calls for message in question.messages):
            advice = "'none' cannot be said once tools have been called: take another."
            raise unsupported_value("tool_choice", advice)
        return None
    tools = [{"toolSpec": _tool(tool)} for tool in question.tools]
    match chosen:
        case {"type": "any"}:
            return {"tools": tools, "toolChoice": {"any": {}}}
        case {"type": "tool", "name": name}:
            return {"tools": tools, "toolChoice": {"tool": {"name": name}}}
    return {"tools": tools}


def _tool(tool: Tool) -> Json:
    return {
        "name": tool.name,
        **({"description": tool.description} if tool.description else {}),
        "inputSchema": {"json": tool.parameters or NO_PARAMETERS},
        **({"strict": True} if tool.strict else {}),
    }


def _output(wanted: Format | None) -> Json:
    if isinstance(wanted, AnyObject):
        raise unsupported_value("response_format", "Give a schema, with 'json_schema'.")
    if not isinstance(wanted, ObjectOf):
        return {}
    described = {"description": wanted.description} if wanted.description else {}
    schema = msgspec.json.encode(schema_of(wanted)).decode()
    structure = {"jsonSchema": {"schema": schema, "name": wanted.name, **described}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


def _is_claude(model: Model) -> bool:
    return "anthropic." in model.upstream_name


def _effort(question: Conversation, model: Model) -> Json:
    effort = question.reasoning_effort
    if effort is None or _is_claude(model):
        return {}
    check_level(effort, EFFORTS, model.profile)
    return {"effort": effort}


def _further(question: Conversation, model: Model, limit: int | None) -> Json:
    """Return what Anthropic's models are told in their own words; no other model can be told it."""
    is_claude = _is_claude(model)
    members = {
        "reasoning_effort": (
            thinking_of(question, limit or OUTPUT_LIMIT, model.profile) if is_claude else {}
        ),
        "parallel_tool_calls": _one_call(question),
        **{name: {name: value} for name, value in further_sampling(question.sampling).items()},
    }
    said = {name: value for name, value in members.items() if value}
    if said and not is_claude:
        raise unsupported(next(iter(said)), "Leave it out.")
    return {name: value for part in said.values() for name, value in part.items()}


def _one_call(question: Conversation) -> Json:
    chosen = tool_choice(question)
    alone = question.tools and "disable_parallel_tool_use" in chosen
    return {"tool_choice": chosen} if alone else {}
