"""Anthropic's messages read: from their shape into the neutral form."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from enclave_server.chat.conversation import (
    Content,
    Conversation,
    Effort,
    File,
    Image,
    Message,
    ObjectOf,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolNamed,
)
from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.images import checked_pdf, checked_url
from enclave_server.chat.surfaces.messages_shapes import (
    Adaptive,
    AnyMessage,
    AssistantBlock,
    AssistantMessage,
    Base64Source,
    Chosen,
    Disabled,
    DocumentBlock,
    Enabled,
    ImageBlock,
    MessagesRequest,
    ShownBlock,
    SystemMessage,
    TextBlock,
    TextSource,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
    UserBlock,
    UserMessage,
)
from enclave_server.chat.surfaces.messages_states import Thoughts
from enclave_server.chat.surfaces.messages_stripping import plain_fields
from enclave_server.chat.surfaces.shapes import convert

B = TypeVar("B")

PDF = "application/pdf"

CHOICES: dict[str, ToolChoice] = {"auto": "auto", "any": "required", "none": "none"}

# How many tokens to think with make which effort; above the last it is the highest of them.
BUDGETS: tuple[tuple[int, Effort], ...] = ((2048, "low"), (8192, "medium"), (32000, "high"))


def read_request(fields: dict[str, Any]) -> Conversation:
    """Return the conversation that the members of a body say; raises ChatError."""
    wanted = convert(plain_fields(fields), MessagesRequest)
    config = wanted.output_config
    format_ = config.format if config is not None else None
    return Conversation(
        model=wanted.model,
        messages=[*_system(wanted.system), *_Reader().read(wanted.messages)],
        max_tokens=wanted.max_tokens,
        stop=wanted.stop_sequences,
        temperature=_plain(wanted.temperature),
        top_p=_plain(wanted.top_p),
        stream=wanted.stream,
        usage=wanted.stream,
        sampling=None if wanted.top_k is None else {"top_k": wanted.top_k},
        tools=_tools(wanted),
        tool_choice=_choice(wanted),
        parallel_tool_calls=_parallel(wanted),
        response_format=None if format_ is None else ObjectOf("answer", schema=format_.schema),
        reasoning_effort=_effort(wanted),
    )


def _plain(number: float | None) -> float | None:
    return None if number is None else number + 0.0


def _system(system: str | list[TextBlock] | None) -> list[Message]:
    return [Message("system", _texts(_listed(system)))] if system else []


def _listed(content: str | list[B]) -> list[B | TextBlock]:
    return [TextBlock(text=content)] if isinstance(content, str) else [*content]


def _texts(blocks: Sequence[TextBlock]) -> Content:
    return _content([Text(block.text) for block in blocks])


def _content(parts: list[Part]) -> Content:
    """Return `parts` as other surfaces give them: a text alone is a text."""
    match parts:
        case [Text(text=text)]:
            return text
    return parts


class _Reader:
    """Reads messages one after another, and knows which calls have no result yet."""

    __slots__ = ("_awaited", "_count", "_numbers")

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[str, int] = {}
        self._awaited: dict[str, str] = {}

    def read(self, messages: list[AnyMessage]) -> list[Message]:
        """Return the messages; raises ChatError."""
        said = [
            part
            for index, message in enumerate(messages)
            for part in self._message(message, f"messages[{index}]")
        ]
        self._refuse_lone_calls()
        return said

    def _message(self, message: AnyMessage, place: str) -> list[Message]:
        place = f"{place}.content"
        match message:
            case AssistantMessage(content=content):
                return [self._assistant(_listed(content), place)]
            case UserMessage(content=content):
                return self._user(_listed(content), place)
            case SystemMessage(content=content):
                self._refuse_lone_calls()
                return [Message("system", _texts(_listed(content)))]

    def _user(self, blocks: Sequence[UserBlock | TextBlock], place: str) -> list[Message]:
        results: list[Message] = []
        shown: list[Part] = []
        for number, block in enumerate(blocks):
            where = f"{place}[{number}]"
            if isinstance(block, ToolResultBlock):
                results.append(self._result(block, where))
            else:
                shown.append(_shown(block, where))
        self._refuse_lone_calls()
        return [*results, Message("user", _content(shown))] if shown else results

    def _result(self, block: ToolResultBlock, place: str) -> Message:
        if self._awaited.pop(block.tool_use_id, None) is None:
            param = f"{place}.tool_use_id"
            sentence = f"'{param}' is of no call of the message before it, or has its result."
            raise invalid(sentence, param, "invalid_value")
        number = self._numbers[block.tool_use_id]
        parts = enumerate(_listed(block.content))
        shown = [_shown(part, f"{place}.content[{n}]") for n, part in parts]
        return Message("tool", _content(shown), result_of=number, failed=block.is_error)

    def _assistant(self, blocks: Sequence[AssistantBlock], place: str) -> Message:
        texts: list[Part] = []
        calls: list[ToolCall] = []
        thoughts = Thoughts()
        for number, block in enumerate(blocks):
            match block:
                case TextBlock(text=text):
                    texts.append(Text(text))
                    thoughts.place(text)
                case ToolUseBlock():
                    calls.append(self._call(block, f"{place}[{number}]"))
                    thoughts.place_call()
                case _:
                    thoughts.add(block)
        return Message(
            "assistant",
            _content(texts) if texts else None,
            calls=calls or None,
            reasoning=thoughts.text or None,
            state=thoughts.state(),
        )

    def _call(self, block: ToolUseBlock, place: str) -> ToolCall:
        number = self._numbers[block.id] = self._count
        self._count += 1
        self._awaited[block.id] = place
        return ToolCall(number, block.name, msgspec.json.encode(block.input).decode())

    def _refuse_lone_calls(self) -> None:
        for place in self._awaited.values():
            sentence = f"'{place}' has no result: 'tool_result' blocks have to follow at once."
            raise invalid(sentence, place, "invalid_value")


def _shown(block: ShownBlock, place: str) -> Part:
    match block:
        case TextBlock(text=text):
            return Text(text)
        case ImageBlock(source=source):
            return _image(source, f"{place}.source")
        case DocumentBlock(source=source):
            return _document(source, f"{place}.source")


def _image(source: Base64Source | UrlSource, place: str) -> Image:
    if isinstance(source, UrlSource):
        return Image(checked_url(source.url, f"{place}.url"))
    return Image(checked_url(f"data:{source.media_type};base64,{source.data}", place))


def _document(source: Base64Source | TextSource, place: str) -> Part:
    if isinstance(source, TextSource):
        return Text(source.data)
    if source.media_type != PDF:
        param = f"{place}.media_type"
        raise invalid(f"'{param}' has to be {PDF}.", param, "invalid_value")
    return File(checked_pdf(source.data, place))


def _tools(wanted: MessagesRequest) -> list[Tool] | None:
    tools = wanted.tools or ()
    return [
        Tool(tool.name, tool.description or None, tool.input_schema, tool.strict) for tool in tools
    ] or None


def _choice(wanted: MessagesRequest) -> ToolChoice | None:
    chosen = wanted.tool_choice
    if chosen is None:
        return None
    if not wanted.tools:
        if chosen.type in ("any", "tool"):
            raise invalid("'tool_choice' needs 'tools'.", "tool_choice", "invalid_value")
        return None
    return _named(chosen, wanted) if chosen.type == "tool" else CHOICES[chosen.type]


def _named(chosen: Chosen, wanted: MessagesRequest) -> ToolNamed:
    if chosen.name not in [tool.name for tool in wanted.tools or ()]:
        raise invalid("'tool_choice.name' is of no tool.", "tool_choice.name", "invalid_value")
    return ToolNamed(chosen.name or "")


def _parallel(wanted: MessagesRequest) -> bool | None:
    chosen = wanted.tool_choice
    one = chosen is not None and chosen.disable_parallel_tool_use and wanted.tools
    return False if one else None


def _effort(wanted: MessagesRequest) -> Effort | None:
    config = wanted.output_config
    effort = config.effort if config is not None else None
    match wanted.thinking:
        case Disabled():
            return "none"
        case Enabled(budget_tokens=budget):
            if budget >= wanted.max_tokens:
                raise _too_high()
            return effort or next((name for most, name in BUDGETS if budget < most), "xhigh")
        case Adaptive():
            return effort or "high"
    return effort


def _too_high() -> ChatError:
    param = "thinking.budget_tokens"
    return invalid(f"'{param}' has to be below 'max_tokens'.", param, "invalid_value")
