"""The shape of a request of Anthropic's Messages API: exactly these fields, of these types."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from enclave_server.chat.surfaces.chat_shapes import MAX_TOOLS, Identifier
from enclave_server.chat.surfaces.shapes import Name, Positive, Probability, Shape, Stops


class TextBlock(Shape, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class Base64Source(Shape, tag_field="type", tag="base64"):
    """An image or a document, in base64."""

    media_type: str
    data: str


class UrlSource(Shape, tag_field="type", tag="url"):
    """An image where the model's server can fetch it."""

    url: Annotated[str, Meta(pattern="^https?://")]


class TextSource(Shape, tag_field="type", tag="text"):
    """A document that is plain text."""

    data: str
    media_type: Literal["text/plain"] = "text/plain"


class ImageBlock(Shape, tag_field="type", tag="image"):
    """An image."""

    source: Base64Source | UrlSource


class DocumentBlock(Shape, tag_field="type", tag="document"):
    """A document."""

    source: Base64Source | TextSource


class ToolUseBlock(Shape, tag_field="type", tag="tool_use"):
    """A call that the assistant asked for earlier."""

    id: str
    name: Name
    input: dict[str, Any]


class ToolResultBlock(Shape, tag_field="type", tag="tool_result"):
    """What a called function returned."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] = ""
    is_error: bool = False


class ThinkingBlock(Shape, tag_field="type", tag="thinking"):
    """What the assistant thought earlier."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Shape, tag_field="type", tag="redacted_thinking"):
    """What the assistant thought earlier and nobody is shown."""

    data: str


ShownBlock = TextBlock | ImageBlock | DocumentBlock
UserBlock = ShownBlock | ToolResultBlock
AssistantBlock = TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock


class UserMessage(Shape, tag_field="role", tag="user"):
    """What the person says or shows, and what called functions returned."""

    content: str | Annotated[list[UserBlock], Meta(min_length=1)]


class AssistantMessage(Shape, tag_field="role", tag="assistant"):
    """What the model answered earlier."""

    content: str | list[AssistantBlock]


class SystemMessage(Shape, tag_field="role", tag="system"):
    """Instructions between messages."""

    content: str | Annotated[list[TextBlock], Meta(min_length=1)]


AnyMessage = UserMessage | AssistantMessage | SystemMessage


class Tool(Shape):
    """A function that the model may call; its schema is a JSON Schema."""

    name: Identifier
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None
    type: Literal["custom"] | None = None


class Chosen(Shape):
    """What of the tools is to be called."""

    type: Literal["auto", "any", "none", "tool"]
    name: Identifier | None = None
    disable_parallel_tool_use: bool = False


class Adaptive(Shape, tag_field="type", tag="adaptive"):
    """The model thinks as it sees fit."""


class Enabled(Shape, tag_field="type", tag="enabled"):
    """The model thinks with so many tokens at the most."""

    budget_tokens: Positive


class Disabled(Shape, tag_field="type", tag="disabled"):
    """The model does not think."""


class JsonFormat(Shape, tag_field="type", tag="json_schema"):
    """JSON that a schema describes."""

    schema: dict[str, Any]


class OutputConfig(Shape):
    """How much effort goes into the answer, and its format."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class MessagesRequest(Shape):
    """The body of `POST /v1/messages`."""

    model: Name
    max_tokens: Positive
    messages: Annotated[list[AnyMessage], Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    stop_sequences: Stops | None = None
    stream: bool = False
    temperature: Probability | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Chosen | None = None
    thinking: Adaptive | Enabled | Disabled | None = None
    output_config: OutputConfig | None = None
