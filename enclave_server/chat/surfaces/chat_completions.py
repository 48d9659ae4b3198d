"""OpenAI's chat completions: `POST /v1/chat/completions`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from enclave_server.chat.conversation import (
    Answer,
    AnyObject,
    AnyText,
    Content,
    Conversation,
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
from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.strict_json import parse_object
from enclave_server.chat.surfaces.chat_shapes import (
    AnyFormat,
    AnyMessage,
    AnyPart,
    AnyToolChoice,
    AssistantMessage,
    ChatRequest,
    ChosenTool,
    DeveloperMessage,
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
from enclave_server.chat.surfaces.openai import OpenAIStream, write_answer
from enclave_server.chat.surfaces.shapes import (
    convert,
    strip,
    without,
)
from enclave_server.chat.surfaces.surface import Identity, Signature
from protocol.binary_http import Response

# The participant's name, and what programs echo from an earlier answer.
IDENTIFYING_IN_MESSAGE = frozenset({"name", "annotations", "reasoning", "reasoning_content"})

# The number that a call had in a stream.
IGNORED_IN_CALL = frozenset({"index"})


class ChatCompletions:
    """Reads conversations; their answers are written as msgspec writes the neutral form."""

    id_prefix = "chatcmpl-"

    def read(self, content: bytes) -> Conversation:
        """Return the conversation in `content`; raises ChatError."""
        wanted = convert(_strip(parse_object(content)), ChatRequest)
        return Conversation(
            **wanted.question(),
            messages=_messages(wanted.messages),
            max_tokens=wanted.max_tokens,
            max_completion_tokens=wanted.max_completion_tokens,
            logprobs=wanted.logprobs,
            top_logprobs=wanted.top_logprobs,
            tools=_tools(wanted.tools) if wanted.tools else None,
            tool_choice=_tool_choice(wanted.tool_choice),
            parallel_tool_calls=wanted.parallel_tool_calls,
            response_format=_format(wanted.response_format),
            reasoning_effort=wanted.reasoning_effort,
            verbosity=wanted.verbosity,
            modalities=wanted.modalities,
        )

    def write(self, answer: Answer, identity: Identity, signature: Signature) -> bytes:
        """Return a whole answer."""
        return write_answer("chat.completion", answer.choices, answer, identity, signature)

    def stream(self, identity: Identity) -> OpenAIStream:
        """Return what writes a streamed answer."""
        return OpenAIStream("chat.completion.chunk", msgspec.json.encode, identity)

    def refuse(self, error: ChatError) -> Response:
        """Return what a request gets that is refused."""
        return error.response()


def _strip(fields: dict[str, Any]) -> dict[str, Any]:
    kept = strip(fields)
    if isinstance(messages := kept.get("messages"), list):
        return {**kept, "messages": [_strip_message(message) for message in messages]}
    return kept


def _strip_message(message: object) -> object:
    if not isinstance(message, dict):
        return message
    kept = without(message, IDENTIFYING_IN_MESSAGE)
    if isinstance(calls := kept.get("tool_calls"), list):
        return {**kept, "tool_calls": [_strip_call(call) for call in calls]}
    return kept


def _strip_call(call: object) -> object:
    return without(call, IGNORED_IN_CALL) if isinstance(call, dict) else call


class _Calls:
    """The calls of a conversation by the identifiers that a provider gave them."""

    __slots__ = ("_count", "_numbers")

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[str, int] = {}

    def add_all(self, calls: list[GivenCall], param: str) -> list[ToolCall]:
        """Return the calls that come next, which are those in the field `param`.

        Some servers give the identifiers of an earlier message again; then the latest is meant. Two
        calls of one message that have the same one cannot be told apart: ChatError 400.
        """
        if len({call.id for call in calls}) < len(calls):
            raise invalid(f"Two calls in '{param}' have the same id.", param, "invalid_value")
        return [self._add(call) for call in calls]

    def _add(self, call: GivenCall) -> ToolCall:
        number = self._numbers[call.id] = self._count
        self._count += 1
        return ToolCall(number, call.function.name, call.function.arguments)

    def find(self, identifier: str) -> int | None:
        """Return the number of the latest call of that identifier."""
        return self._numbers.get(identifier)


def _messages(messages: list[AnyMessage]) -> list[Message]:
    calls = _Calls()
    return [_message(message, index, calls) for index, message in enumerate(messages)]


def _message(message: AnyMessage, index: int, calls: _Calls) -> Message:
    """Return `message`, which is the one at `index`; `calls` are those before it."""
    match message:
        case UserMessage():
            return Message("user", _content(message.content))
        case AssistantMessage():
            content = None if message.content is None else _content(message.content)
            param = f"messages[{index}].tool_calls"
            asked = calls.add_all(message.tool_calls, param) if message.tool_calls else None
            return Message("assistant", content, message.refusal, asked)
        case ToolMessage():
            number = calls.find(message.tool_call_id)
            if number is None:
                param = f"messages[{index}].tool_call_id"
                raise invalid(f"'{param}' names no tool call of an earlier message.", param)
            return Message("tool", _content(message.content), result_of=number)
        case SystemMessage():
            return Message("system", _content(message.content))
        case DeveloperMessage():
            return Message("developer", _content(message.content))


def _content(content: str | Sequence[AnyPart]) -> Content:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: AnyPart) -> Part:
    match part:
        case TextPart(text=text):
            return Text(text)
        case ImagePart(image_url=image):
            return Image(image.url, image.detail)
        case RefusalPart(refusal=refusal):
            return Refusal(refusal)


def _tools(tools: list[FunctionTool]) -> list[Tool]:
    functions = [tool.function for tool in tools]
    return [Tool(f.name, f.description, f.parameters, f.strict) for f in functions]


def _tool_choice(choice: AnyToolChoice | None) -> ToolChoice | None:
    return ToolNamed(choice.function.name) if isinstance(choice, ChosenTool) else choice


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
