"""Requests of the Responses API read: from items into the neutral form."""

from collections.abc import Sequence
from typing import Any

from enclave_server.chat.conversation import (
    AnyObject,
    AnyText,
    Content,
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
    ToolChoice,
    ToolNamed,
)
from enclave_server.chat.errors import invalid
from enclave_server.chat.images import checked_pdf, checked_url
from enclave_server.chat.surfaces.chat_shapes import PDF_URL
from enclave_server.chat.surfaces.responses_namespaces import joined, refuse_ambiguous
from enclave_server.chat.surfaces.responses_shapes import (
    AllowedTools,
    AnyFormat,
    AnyItem,
    AnyPart,
    AnyToolChoice,
    CallItem,
    ChosenTool,
    FunctionTool,
    InputFile,
    InputImage,
    InputText,
    JsonObjectFormat,
    JsonSchemaFormat,
    MessageItem,
    NamespaceTool,
    OutputText,
    ReasoningItem,
    ReasoningWishes,
    RefusalPart,
    ResponsesRequest,
    ResultItem,
    TextFormat,
    TextWishes,
)
from enclave_server.chat.surfaces.responses_stripping import plain_fields
from enclave_server.chat.surfaces.responses_turns import Turns
from enclave_server.chat.surfaces.shapes import convert, taken_sampling

LOGPROBS = "message.output_text.logprobs"


def read_request(fields: dict[str, Any]) -> Conversation:
    """Return the conversation that the members of a body say; raises ChatError."""
    sampling, others = taken_sampling(plain_fields(fields))
    wanted = convert(others, ResponsesRequest)
    tools, choice = _chosen(_tools(wanted.tools or ()), wanted.tool_choice)
    text, reasoning = wanted.text or TextWishes(), wanted.reasoning or ReasoningWishes()
    stream = wanted.stream is True
    return Conversation(
        model=wanted.model,
        messages=_messages(wanted),
        max_completion_tokens=wanted.max_output_tokens,
        temperature=_plain(wanted.temperature),
        top_p=_plain(wanted.top_p),
        sampling=sampling,
        logprobs=LOGPROBS in (wanted.include or ()) or bool(wanted.top_logprobs) or None,
        top_logprobs=wanted.top_logprobs,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=wanted.parallel_tool_calls,
        response_format=_format(text.format),
        verbosity=text.verbosity,
        reasoning_effort=reasoning.effort,
        stream=stream,
        usage=stream,
    )


def _plain(number: float | None) -> float | None:
    return None if number is None else number + 0.0


def _messages(wanted: ResponsesRequest) -> list[Message]:
    turns = Turns()
    if wanted.instructions:
        turns.say(Message("system", wanted.instructions))
    if isinstance(wanted.input, str):
        turns.say(Message("user", wanted.input))
    else:
        for index, item in enumerate(wanted.input):
            _add(turns, item, f"input[{index}]")
    return turns.messages()


def _add(turns: Turns, item: AnyItem, place: str) -> None:
    match item:
        case MessageItem(role="assistant", content=content):
            turns.answer(_answered(content, place))
        case MessageItem(role=role, content=content):
            turns.say(Message(role, _content(content, f"{place}.content")))
        case CallItem():
            turns.call(item.call_id, joined(item.namespace, item.name), item.arguments)
        case ResultItem():
            turns.result(item.call_id, _content(item.output, f"{place}.output"), place)
        case ReasoningItem():
            texts = [part.text for part in item.content or item.summary or ()]
            turns.think("".join(texts), item.encrypted_content, place)


def _answered(content: str | Sequence[AnyPart], place: str) -> list[Part]:
    """Return what the model said earlier, which are text and refusals alone."""
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    for index, part in enumerate(content):
        match part:
            case OutputText(text=text) | InputText(text=text):
                parts.append(Text(text))
            case RefusalPart(refusal=refusal):
                parts.append(Refusal(refusal))
            case _:
                where = f"{place}.content[{index}].type"
                raise invalid(f"'{where}' is nothing that a model says.", where, "invalid_value")
    return parts


def _content(content: str | Sequence[AnyPart], place: str) -> Content:
    if isinstance(content, str):
        return content
    return [_part(part, f"{place}[{index}]") for index, part in enumerate(content)]


def _part(part: AnyPart, place: str) -> Part:
    match part:
        case InputText(text=text) | OutputText(text=text):
            return Text(text)
        case InputImage(image_url=url, detail=detail):
            return Image(checked_url(url, f"{place}.image_url"), detail)
        case InputFile(file_data=data):
            return File(checked_pdf(data.removeprefix(PDF_URL), f"{place}.file_data"))
        case RefusalPart(refusal=refusal):
            return Refusal(refusal)


def _tools(given: Sequence[FunctionTool | NamespaceTool]) -> list[Tool]:
    """Return all functions, those of namespaces by their one name; raises ChatError 400."""
    tools: list[Tool] = []
    for index, tool in enumerate(given):
        place = f"tools[{index}]"
        refuse_ambiguous(tool.name, place)
        if isinstance(tool, FunctionTool):
            tools.append(_tool(tool))
            continue
        for number, inner in enumerate(tool.tools):
            refuse_ambiguous(inner.name, f"{place}.tools[{number}]")
            # What the namespace is for is told once, with the first of its functions.
            about = None if number else tool.description
            tools.append(_tool(inner, tool.name, about))
    return tools


def _tool(tool: FunctionTool, namespace: str | None = None, about: str | None = None) -> Tool:
    told = [text for text in (about, tool.description) if text]
    description = "\n\n".join(told) if told else tool.description
    return Tool(joined(namespace, tool.name), description, tool.parameters, tool.strict)


def _chosen(
    tools: list[Tool], choice: AnyToolChoice | None
) -> tuple[list[Tool] | None, ToolChoice | None]:
    """Return the tools that may be called, and the choice among them; raises ChatError 400."""
    known = {tool.name for tool in tools}
    match choice:
        case ChosenTool(name=name):
            _require_known({name}, known)
            return tools, ToolNamed(name)
        case AllowedTools(mode=mode, tools=allowed):
            names = {tool.name for tool in allowed}
            _require_known(names, known)
            return [tool for tool in tools if tool.name in names], mode
    if choice == "required":
        _require_known(set(), known)
    return tools or None, choice


def _require_known(names: set[str], known: set[str]) -> None:
    """Refuse a choice of what is no tool of the request, or among none; raises ChatError 400."""
    if not known:
        raise invalid("'tool_choice' needs 'tools'.", "tool_choice", "invalid_value")
    for name in sorted(names - known):
        raise invalid(f"'tool_choice' names '{name}', which is no tool.", "tool_choice")


def _format(wanted: AnyFormat | None) -> Format | None:
    match wanted:
        case None:
            return None
        case TextFormat():
            return AnyText()
        case JsonObjectFormat():
            return AnyObject()
        case JsonSchemaFormat():
            return ObjectOf(wanted.name, wanted.description, wanted.schema, wanted.strict)
