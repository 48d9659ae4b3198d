"""Requests of generateContent: the neutral form's members, written in one way whoever wrote them.

Two people's identical prompts leave byte-identical bodies in byte-identical HTTP requests.
"""

import re
from typing import Any
from urllib.parse import quote

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
    ToolNamed,
)
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.dialects.gemini.contents import instructions, write_contents
from enclave_server.chat.dialects.gemini.generations import demands_signatures, thinking
from enclave_server.chat.dialects.refusals import unsupported, unsupported_value
from enclave_server.chat.dialects.sampling import further_sampling, temperature_of, top_p_of
from enclave_server.chat.dialects.unsaid import output_limit, refuse
from enclave_server.chat.models import Model
from protocol.binary_http import Fields
from protocol.registry import EVENT_STREAM, JSON

Json = dict[str, Any]

MAX_STOPS = 5
SEEDS = range(-(2**31), 2**31)

# Paths of Vertex AI name a project; there a bearer token pays, elsewhere a key.
_PROJECT = "/projects/"

# Fields that this API has no word for, and what to do instead.
UNSAID = {
    "logit_bias": "Leave it out.",
    "verbosity": "Say in the messages how long the answer is to be.",
}

_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def write_request(question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
    """Return the request for `question`; raises ChatError for what the API has no word for."""
    if not isinstance(question, Conversation):
        raise unsupported("prompt", "Send 'messages' to /v1/chat/completions.")
    check_pairs(question.messages)
    refuse(question, UNSAID)
    body = msgspec.json.encode({**_body(question, model), **_retention(model)})
    fields = account_fields(model, account)
    path = f"/{resource_of(model.upstream_name)}"
    if question.stream:
        # Without `alt` a stream is one JSON array that grows.
        return UpstreamRequest(f"{path}:streamGenerateContent?alt=sse", fields, body, EVENT_STREAM)
    return UpstreamRequest(f"{path}:generateContent", fields, body, JSON)


def resource_of(name: str) -> str:
    """Return what a path calls the model of that name."""
    return quote(name if "/" in name else f"models/{name}", safe="/@")


def is_vertex(model: Model) -> bool:
    """Whether the model is asked at Vertex AI."""
    return _PROJECT in model.upstream.path_prefix


def _retention(model: Model) -> Json:
    """Return what keeps the provider from logging a request; Vertex AI has no such member."""
    return {**({} if is_vertex(model) else {"store": False}), **model.profile.retention}


def account_fields(model: Model, account: Account) -> Fields:
    """Return the fields of HTTP that say who pays."""
    if account.key is None:
        return ()
    key = account.key.encode("ascii")
    if is_vertex(model):
        return ((b"Authorization", b"Bearer " + key),)
    # Never in the URL, which is logged.
    return ((b"x-goog-api-key", key),)


def _body(question: Conversation, model: Model) -> Json:
    """Return the members of the body in the order in which they leave."""
    told = instructions(question.messages)
    contents = write_contents(question.messages, demands_signatures=demands_signatures(model))
    return _told(
        {
            "systemInstruction": {"parts": told} if told else None,
            "contents": contents,
            "tools": _tools(question.tools),
            "toolConfig": _tool_config(question),
            "generationConfig": _generation(question, model) or None,
        }
    )


def _generation(question: Conversation, model: Model) -> Json:
    return _told(
        {
            "candidateCount": question.n if question.choices > 1 else None,
            "maxOutputTokens": output_limit(question, model),
            "temperature": temperature_of(question, model.profile),
            "topP": top_p_of(question, model.profile),
            **further_sampling(question, {"top_k": "topK"}),
            "stopSequences": _stops(question),
            "seed": _seed(question),
            "presencePenalty": question.presence_penalty or None,
            "frequencyPenalty": question.frequency_penalty or None,
            "responseLogprobs": question.logprobs or None,
            "logprobs": question.top_logprobs or None,
            **_format(question.response_format),
            "thinkingConfig": thinking(question.reasoning_effort, model),
        }
    )


def _stops(question: Conversation) -> list[str] | None:
    stops = [question.stop] if isinstance(question.stop, str) else question.stop
    if stops is not None and len(stops) > MAX_STOPS:
        raise unsupported_value("stop", f"It takes up to {MAX_STOPS} sequences.")
    return stops


def _seed(question: Conversation) -> int | None:
    if question.seed is not None and question.seed not in SEEDS:
        raise unsupported_value("seed", f"It takes {SEEDS.start} to {SEEDS.stop - 1}.")
    return question.seed


def _format(wanted: Format | None) -> Json:
    match wanted:
        case None | AnyText():
            return {}
        case AnyObject():
            return {"responseMimeType": JSON.decode()}
        case ObjectOf(schema=schema):
            return {"responseMimeType": JSON.decode(), "responseJsonSchema": schema}


def _tools(tools: list[Tool] | None) -> list[Json] | None:
    if not tools:
        return None
    return [{"functionDeclarations": [_tool(tool, index) for index, tool in enumerate(tools)]}]


def _tool(tool: Tool, index: int) -> Json:
    if _FUNCTION_NAME.fullmatch(tool.name) is None:
        place = f"tools[{index}].function.name"
        raise unsupported_value(place, "It begins with a letter or an underscore.")
    return _told(
        {
            "name": tool.name,
            "description": tool.description,
            "parametersJsonSchema": tool.parameters,
        }
    )


def _tool_config(question: Conversation) -> Json | None:
    """Return whether functions must be called, and whether as strictly as their schemas say."""
    if not question.tools:
        return None
    if question.parallel_tool_calls is False:
        raise unsupported_value("parallel_tool_calls", "It may call several functions at once.")
    calling: Json = {}
    match question.tool_choice:
        case ToolNamed(name=name):
            calling = {"mode": "ANY", "allowedFunctionNames": [name]}
        case None | "auto" if any(tool.strict for tool in question.tools):
            calling = {"mode": "VALIDATED"}
        case str(word):
            calling = {"mode": _MODES[word]}
    return {"functionCallingConfig": calling} if calling else None


def _told(members: Json) -> Json:
    return {name: value for name, value in members.items() if value is not None}
