"""Chat completions read: from their shape into the neutral form."""

from collections.abc import Sequence
from typing import Any

from enclave_server.chat import states
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
    State,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolNamed,
)
from enclave_server.chat.errors import invalid
from enclave_server.chat.images import checked_pdf, checked_url
from enclave_server.chat.surfaces.chat_shapes import (
    PDF_URL,
    AllowedTools,
    AnyFormat,
    AnyMessage,
    AnyPart,
    AnyToolChoice,
    AssistantMessage,
    ChatRequest,
    ChosenTool,
    DeveloperMessage,
    FilePart,
    Function,
    FunctionTool,
    GivenCall,
    ImagePart,
    JsonObjectFormat,
    JsonSchemaFormat,
    RefusalPart,
    SystemMessage,
    TextFormat,
    TextPart,
    ToolMessage,
    UserMessage,
)
from enclave_server.chat.surfaces.chat_stripping import plain_fields
from enclave_server.chat.surfaces.shapes import convert, taken_sampling


def read_request(fields: dict[str, Any]) -> Conversation:
    """Return the conversation that the members of a body say; raises ChatError."""
    sampling, others = taken_sampling(plain_fields(fields))
    wanted = convert(others, ChatRequest)
    tools, choice = _chosen(wanted.tools, wanted.tool_choice)
    return Conversation(
        **wanted.question(),
        sampling=sampling,
        messages=_messages(wanted.messages),
        max_tokens=wanted.max_tokens,
        max_completion_tokens=wanted.max_completion_tokens,
        logprobs=wanted.logprobs,
        top_logprobs=wanted.top_logprobs,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=wanted.parallel_tool_calls,
        response_format=_format(wanted.response_format),
        reasoning_effort=wanted.reasoning_effort,
        verbosity=wanted.verbosity,
        modalities=wanted.modalities,
    )


class _Calls:
    """The calls of a conversation by the identifiers that a provider gave them."""

    __slots__ = ("_count", "_numbers")

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[str, int] = {}

    def add_all(self, calls: list[GivenCall], place: str) -> list[ToolCall]:
        """Return the calls that come next, which stand at `place`.

        Some servers give the identifiers of an earlier message again; then the latest is meant. Two
        calls of one message that have the same one cannot be told apart: ChatError 400.
        """
        if len({call.id for call in calls}) < len(calls):
            raise invalid(f"Two calls in '{place}' have the same id.", place, "invalid_value")
        return [self._add(call, f"{place}[{index}]") for index, call in enumerate(calls)]

    def _add(self, call: GivenCall, place: str) -> ToolCall:
        number = self._numbers[call.id] = self._count
        self._count += 1
        state = _state(call.extra_content, place)
        return ToolCall(number, call.function.name, call.function.arguments, state)

    def find(self, identifier: str) -> int | None:
        """Return the number of the latest call of that identifier."""
        return self._numbers.get(identifier)


def _messages(messages: list[AnyMessage]) -> list[Message]:
    calls = _Calls()
    return [_message(message, index, calls) for index, message in enumerate(messages)]


def _message(message: AnyMessage, index: int, calls: _Calls) -> Message:
    """Return `message`, which is the one at `index`; `calls` are those before it."""
    place = f"messages[{index}]"
    match message:
        case UserMessage():
            return Message("user", _content(message.content, place))
        case AssistantMessage():
            return _answered(message, place, calls)
        case ToolMessage():
            number = calls.find(message.tool_call_id)
            if number is None:
                param = f"{place}.tool_call_id"
                raise invalid(f"'{param}' names no tool call of an earlier message.", param)
            return Message("tool", _content(message.content, place), result_of=number)
        case SystemMessage():
            return Message("system", _content(message.content, place))
        case DeveloperMessage():
            return Message("developer", _content(message.content, place))


def _answered(message: AssistantMessage, place: str, calls: _Calls) -> Message:
    content = None if message.content is None else _content(message.content, place)
    asked = calls.add_all(message.tool_calls or [], f"{place}.tool_calls")
    state = _state(message.extra_content, place)
    return Message(
        "assistant",
        content,
        message.refusal,
        asked or None,
        reasoning=message.reasoning_content,
        state=state,
    )


def _state(extra: dict[str, Any] | None, place: str) -> State | None:
    """Return the state in `extra_content` of what stands at `place`; raises ChatError 400."""
    try:
        return None if extra is None else states.read(extra)
    except states.Malformed:
        param = f"{place}.{states.MEMBER}"
        message = f"'{param}' has a state that was not given here, or not given like this."
        raise invalid(message, param, "invalid_value") from None


def _content(content: str | Sequence[AnyPart], place: str) -> Content:
    if isinstance(content, str):
        return content
    return [_part(part, f"{place}.content[{index}]") for index, part in enumerate(content)]


def _part(part: AnyPart, place: str) -> Part:
    match part:
        case TextPart(text=text):
            return Text(text)
        case ImagePart(image_url=image):
            return Image(checked_url(image.url, f"{place}.image_url"), image.detail)
        case FilePart(file=file):
            return File(checked_pdf(file.file_data.removeprefix(PDF_URL), f"{place}.file"))
        case RefusalPart(refusal=refusal):
            return Refusal(refusal)


def _chosen(
    given: list[FunctionTool] | None, choice: AnyToolChoice | None
) -> tuple[list[Tool] | None, ToolChoice | None]:
    """Return the tools that may be called, and the choice among them; raises ChatError 400."""
    tools = [_tool(tool.function) for tool in given or ()]
    known = {tool.name for tool in tools}
    match choice:
        case ChosenTool(function=function):
            _require_known({function.name}, known)
            return tools, ToolNamed(function.name)
        case AllowedTools(allowed_tools=allowed):
            names = {tool.function.name for tool in allowed.tools}
            _require_known(names, known)
            return [tool for tool in tools if tool.name in names], allowed.mode
    if choice == "required":
        _require_known(set(), known)
    return tools or None, choice


def _require_known(names: set[str], known: set[str]) -> None:
    """Refuse a choice of what is no tool of the request, or among none; raises ChatError 400."""
    if not known:
        raise invalid("'tool_choice' needs 'tools'.", "tool_choice", "invalid_value")
    for name in sorted(names - known):
        raise invalid(f"'tool_choice' names '{name}', which is no tool.", "tool_choice")


def _tool(function: Function) -> Tool:
    return Tool(function.name, function.description, function.parameters, function.strict)


def _format(wanted: AnyFormat | None) -> Format | None:
    match wanted:
        case None:
            return None
        case TextFormat():
            return AnyText()
        case JsonObjectFormat():
            return AnyObject()
        case JsonSchemaFormat(json_schema=named):
            return ObjectOf(named.name, named.description, named.schema, named.strict)
