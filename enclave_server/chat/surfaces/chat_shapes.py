"""The shape of a chat completion's request: exactly these fields, of exactly these types."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from enclave_server.chat.conversation import Detail, Effort, Verbosity
from enclave_server.chat.surfaces.shapes import Name, Positive, Request, Shape

MAX_TOOLS = 128

PDF_URL = "data:application/pdf;base64,"

Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]


class TextPart(Shape, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class ImageUrl(Shape):
    """An image, inside the URL or where the model's server can fetch it; never a local file."""

    url: Annotated[str, Meta(pattern="^(https?://|data:image/)")]
    detail: Detail | None = None


class ImagePart(Shape, tag_field="type", tag="image_url"):
    """An image in a message."""

    image_url: ImageUrl


class FileData(Shape):
    """A PDF inside its URL, or as base64 alone; what it is called is not passed on."""

    file_data: Annotated[
        str, Meta(pattern="^(data:application/pdf;base64,)?[A-Za-z0-9+/]+={0,2}\\Z")
    ]


class FilePart(Shape, tag_field="type", tag="file"):
    """A document in a message."""

    file: FileData


class RefusalPart(Shape, tag_field="type", tag="refusal"):
    """A refusal that the assistant gave earlier."""

    refusal: str


AnyPart = TextPart | ImagePart | FilePart | RefusalPart
TextParts = Annotated[list[TextPart], Meta(min_length=1)]


class SystemMessage(Shape, tag_field="role", tag="system"):
    """Instructions."""

    content: str | TextParts


class DeveloperMessage(Shape, tag_field="role", tag="developer"):
    """Instructions, by the name that newer models know."""

    content: str | TextParts


class UserMessage(Shape, tag_field="role", tag="user"):
    """What the person says or shows."""

    content: str | Annotated[list[TextPart | ImagePart | FilePart], Meta(min_length=1)]


class CalledFunction(Shape):
    """A function's name and its arguments as the model wrote them."""

    name: Name
    arguments: str


class GivenCall(Shape, tag_field="type", tag="function"):
    """A call that the assistant asked for earlier."""

    id: str
    function: CalledFunction
    extra_content: dict[str, Any] | None = None


class AssistantMessage(Shape, tag_field="role", tag="assistant"):
    """What the model answered earlier."""

    content: str | Annotated[list[TextPart | RefusalPart], Meta(min_length=1)] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    extra_content: dict[str, Any] | None = None
    tool_calls: Annotated[list[GivenCall], Meta(min_length=1, max_length=MAX_TOOLS)] | None = None


class ToolMessage(Shape, tag_field="role", tag="tool"):
    """What a called function returned."""

    content: str | TextParts
    tool_call_id: str


AnyMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class Function(Shape):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: Identifier
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Shape, tag_field="type", tag="function"):
    """A tool, of the only type that does not run at the provider."""

    function: Function


class ChosenFunction(Shape):
    """The name of a function."""

    name: Identifier


class ChosenTool(Shape, tag_field="type", tag="function"):
    """The function that the model must call."""

    function: ChosenFunction


class Allowed(Shape):
    """The functions that the model may call of those that it is told of, or must call one of."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenTool], Meta(min_length=1, max_length=MAX_TOOLS)]


class AllowedTools(Shape, tag_field="type", tag="allowed_tools"):
    """The choice among some of the tools; the others are left out of the request."""

    allowed_tools: Allowed


class TextFormat(Shape, tag_field="type", tag="text"):
    """Plain text."""


class JsonObjectFormat(Shape, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchema(Shape):
    """A named JSON Schema."""

    name: Identifier
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class JsonSchemaFormat(Shape, tag_field="type", tag="json_schema"):
    """JSON that a schema describes."""

    json_schema: JsonSchema


AnyToolChoice = Literal["none", "auto", "required"] | ChosenTool | AllowedTools
AnyFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class ChatRequest(Request, kw_only=True):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[AnyMessage], Meta(min_length=1)]
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[FunctionTool], Meta(min_length=1, max_length=MAX_TOOLS)] | None = None
    tool_choice: AnyToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: AnyFormat | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    modalities: Annotated[list[Literal["text"]], Meta(min_length=1, max_length=1)] | None = None
