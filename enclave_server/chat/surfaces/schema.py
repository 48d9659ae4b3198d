"""The requests that are understood: exactly these fields, of exactly these types.

What a structure has no field for cannot leave the enclave. Absent and null are the same.
"""

import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.strict_json import printable

MAX_TOOLS = 128
MAX_STOPS = 16
MAX_CHOICES = 128
MAX_NAME: Final = 256
MAX_REASON = 200

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Choices = Annotated[int, Meta(ge=1, le=MAX_CHOICES)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Stops = Annotated[list[str], Meta(min_length=1, max_length=MAX_STOPS)]
LogitBias = dict[
    Annotated[str, Meta(pattern=r"^[0-9]{1,10}\Z")], Annotated[float, Meta(ge=-100, le=100)]
]


class Shape(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An object of which every field is known."""


class TextPart(Shape, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class ImageUrl(Shape):
    """An image, inside the URL or where the model's server can fetch it; never a local file."""

    url: Annotated[str, Meta(pattern="^(https?://|data:image/)")]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Shape, tag_field="type", tag="image_url"):
    """An image in a message."""

    image_url: ImageUrl


class RefusalPart(Shape, tag_field="type", tag="refusal"):
    """A refusal that the assistant gave earlier."""

    refusal: str


TextParts = Annotated[list[TextPart], Meta(min_length=1)]


class SystemMessage(Shape, tag_field="role", tag="system"):
    """Instructions."""

    content: str | TextParts


class DeveloperMessage(Shape, tag_field="role", tag="developer"):
    """Instructions, by the name that newer models know."""

    content: str | TextParts


class UserMessage(Shape, tag_field="role", tag="user"):
    """What the person says or shows."""

    content: str | Annotated[list[TextPart | ImagePart], Meta(min_length=1)]


class Call(Shape):
    """A function's name and its arguments as the model wrote them."""

    name: Name
    arguments: str


class ToolCall(Shape, tag_field="type", tag="function"):
    """A call that the assistant asked for earlier."""

    id: str
    function: Call


class AssistantMessage(Shape, tag_field="role", tag="assistant"):
    """What the model answered earlier."""

    content: str | Annotated[list[TextPart | RefusalPart], Meta(min_length=1)] | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Meta(min_length=1, max_length=MAX_TOOLS)] | None = None


class ToolMessage(Shape, tag_field="role", tag="tool"):
    """What a called function returned."""

    content: str | TextParts
    tool_call_id: str


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class Function(Shape):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: Identifier
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Shape, tag_field="type", tag="function"):
    """A tool, of the only type that does not run at the provider."""

    function: Function


class ChosenFunction(Shape):
    """The name of a function."""

    name: Identifier


class ToolChoice(Shape, tag_field="type", tag="function"):
    """The function that the model must call."""

    function: ChosenFunction


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


class StreamOptions(Shape):
    """Whether a stream ends with the count of tokens."""

    include_usage: bool | None = None


class ChatRequest(Shape):
    """The body of `POST /v1/chat/completions`."""

    model: Name
    messages: Annotated[list[Message], Meta(min_length=1)]
    temperature: Temperature | None = None
    top_p: Probability | None = None
    n: Choices | None = None
    stop: str | Stops | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    logit_bias: LogitBias | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    modalities: Annotated[list[Literal["text"]], Meta(min_length=1, max_length=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def has_image(self) -> bool:
        """Whether any message shows an image."""
        return any(
            isinstance(part, ImagePart)
            for message in self.messages
            if isinstance(message, UserMessage) and isinstance(message.content, list)
            for part in message.content
        )


class CompletionRequest(Shape):
    """The body of `POST /v1/completions`; `prompt` is text, tokens, or a list of either."""

    model: Name
    prompt: str | Annotated[list[str | int | list[int]], Meta(min_length=1)]
    suffix: str | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    n: Choices | None = None
    best_of: Choices | None = None
    stop: str | Stops | None = None
    echo: bool | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    logit_bias: LogitBias | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def __post_init__(self) -> None:
        if isinstance(self.prompt, list) and len({type(item) for item in self.prompt}) > 1:
            raise ValueError("Expected items of one type in `prompt`")


R = TypeVar("R", ChatRequest, CompletionRequest)

_PLACE = re.compile(r"(?: - at `(?:key` in `)?\$\.?(?P<path>[^`]*)`)?\Z", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`\Z", re.DOTALL)


def convert(fields: dict[str, Any], kind: type[R]) -> R:
    """Return `fields` as a request; raises ChatError 400 that names the first wrong field."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None


def _explain(text: str) -> ChatError:
    """Turn msgspec's sentence into an error object; it holds types and places, and one name."""
    place = _PLACE.search(text)
    path = place["path"] or "" if place else ""
    reason = text[: place.start()] if place else text
    if unknown := _UNKNOWN.match(reason):
        param = _join(path, printable(unknown["name"]))
        return invalid(f"Unknown parameter: '{param}'.", param, "unknown_parameter")
    if missing := _MISSING.match(reason):
        param = _join(path, missing["name"])
        return invalid(
            f"Missing required parameter: '{param}'.", param, "missing_required_parameter"
        )
    param = path or "prompt"  # only the check of a whole request has no place
    return invalid(
        f"Invalid value for '{param}': {printable(reason, MAX_REASON)}.", param, "invalid_value"
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
