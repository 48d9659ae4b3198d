"""OpenAI's chat completions: `POST /v1/chat/completions`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from enclave_server.chat import states
from enclave_server.chat.conversation import (
    Answer,
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
    PartState,
    Refusal,
    State,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolNamed,
)
from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.images import checked_pdf, checked_url
from enclave_server.chat.strict_json import parse_object
from enclave_server.chat.surfaces.chat_shapes import (
    PDF_URL,
    AnyFormat,
    AnyMessage,
    AnyPart,
    AnyToolChoice,
    AssistantMessage,
    ChatRequest,
    ChosenTool,
    DeveloperMessage,
    FilePart,
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
IDENTIFYING_IN_MESSAGE = frozenset({"name", "annotations"})

# What servers call it, of which a client may echo either; what is no text says how to think.
REASONING_NAMES = frozenset({"reasoning_content", "reasoning"})

# The number that a call had in a stream.
IGNORED_IN_CALL = frozenset({"index"})


class ChatCompletions:
    """Reads conversations; their answers are written as msgspec writes the neutral form.

    States are told in `extra_content` of a message and of its calls.
    """

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
        choices = _with_states(answer, identity) if answer.states else answer.choices
        return write_answer("chat.completion", choices, answer, identity, signature)

    def stream(self, identity: Identity) -> OpenAIStream:
        """Return what writes a streamed answer."""

        def encode_states(given: Sequence[PartState]) -> bytes:
            return msgspec.json.encode([_state_delta(state, identity) for state in given])

        return OpenAIStream("chat.completion.chunk", msgspec.json.encode, identity, encode_states)

    def refuse(self, error: ChatError) -> Response:
        """Return what a request gets that is refused."""
        return error.response()


def _with_states(answer: Answer, identity: Identity) -> list[dict[str, Any]]:
    """Return the choices of `answer` as they are written, with the states of their parts."""
    choices: list[dict[str, Any]] = msgspec.to_builtins(answer.choices)
    messages = {choice["index"]: choice["message"] for choice in choices}
    for given in answer.states:
        part = messages[given.choice]
        if given.call is not None:
            part = part["tool_calls"][given.call]
        part[states.MEMBER] = states.write(given.state, identity.origin)
    return choices


def _state_delta(given: PartState, identity: Identity) -> dict[str, Any]:
    """Return the part of a stream that tells a state."""
    delta: dict[str, Any] = {states.MEMBER: states.write(given.state, identity.origin)}
    if given.call is not None:
        delta = {"tool_calls": [{"index": given.call, **delta}]}
    return {"index": given.choice, "delta": delta, "logprobs": None, "finish_reason": None}


def _strip(fields: dict[str, Any]) -> dict[str, Any]:
    kept = strip(fields)
    if isinstance(messages := kept.get("messages"), list):
        return {**kept, "messages": [_strip_message(message) for message in messages]}
    return kept


def _strip_message(message: object) -> object:
    if not isinstance(message, dict):
        return message
    kept = without(message, IDENTIFYING_IN_MESSAGE)
    if REASONING_NAMES & kept.keys():
        kept = _with_one_reasoning(kept)
    if isinstance(calls := kept.get("tool_calls"), list):
        return {**kept, "tool_calls": [_strip_call(call) for call in calls]}
    return kept


def _with_one_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Return `message` with its reasoning under the one of the names under which it is given."""
    kept = without(message, REASONING_NAMES)
    thoughts = [message.get(name) for name in ("reasoning_content", "reasoning")]
    said = next((text for text in thoughts if isinstance(text, str) and text), None)
    return kept if said is None else {**kept, "reasoning_content": said}


def _strip_call(call: object) -> object:
    return without(call, IGNORED_IN_CALL) if isinstance(call, dict) else call


class _Calls:
    """The calls of a conversation by the identifiers that a provider gave them."""

    __slots__ = ("_count", "_numbers")

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[str, int] = {}

    def add_all(self, calls: list[GivenCall], place: str) -> list[ToolCall]:
        """Return the calls that come next, which stand at `place`."""
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
