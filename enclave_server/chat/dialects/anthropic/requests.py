"""Requests of Anthropic's Messages API: the neutral form's members, in one order whoever asks.

Nothing that identifies is among them: no `metadata`, no containers, no marks for a cache.
"""

from collections.abc import Mapping
from typing import Any

from enclave_server.chat.conversation import (
    AnyObject,
    Conversation,
    Format,
    ObjectOf,
    Tool,
    ToolNamed,
)
from enclave_server.chat.dialects.anthropic.messages import write_messages
from enclave_server.chat.dialects.anthropic.thinking import thinking_of
from enclave_server.chat.dialects.refusals import unsupported, unsupported_value
from enclave_server.chat.dialects.unsaid import OF_ONE_ANSWER, nucleus, output_limit, refuse
from enclave_server.chat.errors import invalid
from enclave_server.chat.models import Model

Json = dict[str, Any]

# Where neither the question nor the configuration says how long an answer may be.
OUTPUT_LIMIT = 4096

CHOICES = {"auto": "auto", "required": "any", "none": "none"}
NO_PARAMETERS: Json = {"type": "object", "properties": {}}


def write_body(question: Conversation, model: Model) -> Json:
    """Return all members but those that depend on who serves the API; raises ChatError."""
    refuse(question, OF_ONE_ANSWER)
    profile = model.profile
    limit = output_limit(question, model) or OUTPUT_LIMIT
    members = {
        "max_tokens": limit,
        **write_messages(question, profile),
        **nucleus(question, profile),
        **further_sampling(question.sampling),
        **_stops(question.stop),
        **write_tools(question),
        **thinking_of(question, limit, profile),
        **profile.retention,
    }
    if (wanted := write_format(question.response_format)) is not None:
        members["output_config"] = {**members.get("output_config", {}), "format": wanted}
    return members


def further_sampling(sampling: Mapping[str, Any] | None) -> Json:
    """Return `top_k`, which is known; raises ChatError for any other field."""
    for name in sampling or ():
        if name != "top_k":
            raise unsupported(name, "Leave it out.")
    return dict(sampling or {})


def stops_of(stop: str | list[str] | None) -> list[str]:
    """Return the texts that end an answer, of which none may be blank; raises ChatError."""
    stops = [stop] if isinstance(stop, str) else stop or []
    if any(not text.strip() for text in stops):
        raise unsupported_value("stop", "Each text that ends an answer has to show something.")
    return stops


def _stops(stop: str | list[str] | None) -> Json:
    stops = stops_of(stop)
    return {"stop_sequences": stops} if stops else {}


def write_tools(question: Conversation) -> Json:
    """Return `tools`, and `tool_choice` if it is not the usual one."""
    choice = tool_choice(question)
    if not question.tools:
        return {}
    tools = [_tool(tool) for tool in question.tools]
    return {"tools": tools, **({"tool_choice": choice} if choice != {"type": "auto"} else {})}


def tool_choice(question: Conversation) -> Json:
    """Return which tools are to be called; raises ChatError if one has to be and there is none."""
    chosen = question.tool_choice
    if not question.tools and chosen not in (None, "auto", "none"):
        raise invalid("'tool_choice' needs 'tools'.", "tool_choice", "invalid_value")
    if isinstance(chosen, ToolNamed):
        choice: Json = {"type": "tool", "name": chosen.name}
    else:
        choice = {"type": CHOICES[chosen or "auto"]}
    if question.parallel_tool_calls is False and chosen != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _tool(tool: Tool) -> Json:
    written: Json = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    written["input_schema"] = tool.parameters or NO_PARAMETERS
    if tool.strict:
        written["strict"] = True
    return written


def write_format(wanted: Format | None) -> Json | None:
    """Return the format of the answer if it is not just text; raises ChatError."""
    if isinstance(wanted, ObjectOf):
        return {"type": "json_schema", "schema": schema_of(wanted)}
    if isinstance(wanted, AnyObject):
        raise unsupported_value("response_format", "Give a schema, with 'json_schema'.")
    return None


def schema_of(wanted: ObjectOf) -> Json:
    """Return the schema of the answer; raises ChatError if there is none."""
    if wanted.schema is None:
        raise unsupported_value("response_format", "Give the schema, with 'json_schema'.")
    return wanted.schema
