"""The shape of a request of the Responses API: exactly these fields, of exactly these types."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from enclave_server.chat.conversation import Detail, Effort, Verbosity
from enclave_server.chat.surfaces.chat_shapes import MAX_TOOLS, Identifier
from enclave_server.chat.surfaces.shapes import (
    Name,
    Positive,
    Probability,
    Shape,
    Temperature,
)


class InputText(Shape, tag_field="type", tag="input_text"):
    """A piece of text that somebody else than the model wrote."""

    text: str


class OutputText(Shape, tag_field="type", tag="output_text"):
    """A piece of text that the model wrote."""

    text: str


class RefusalPart(Shape, tag_field="type", tag="refusal"):
    """A refusal that the model gave earlier."""

    refusal: str


class InputImage(Shape, tag_field="type", tag="input_image"):
    """An image, inside the URL or where the model's server can fetch it; never a local file."""

    image_url: Annotated[str, Meta(pattern="^(https?://|data:image/)")]
    detail: Detail | None = None


class InputFile(Shape, tag_field="type", tag="input_file"):
    """A PDF inside its URL, or as base64 alone; what it is called is not passed on."""

    file_data: Annotated[
        str, Meta(pattern="^(data:application/pdf;base64,)?[A-Za-z0-9+/]+={0,2}\\Z")
    ]


InputPart = InputText | InputImage | InputFile
AnyPart = InputPart | OutputText | RefusalPart


class MessageItem(Shape, tag_field="type", tag="message"):
    """What somebody said."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[AnyPart]


class CallItem(Shape, tag_field="type", tag="function_call"):
    """A call that the model asked for earlier."""

    call_id: str
    name: Name
    arguments: str
    namespace: Name | None = None


class ResultItem(Shape, tag_field="type", tag="function_call_output"):
    """What a called function returned."""

    call_id: str
    output: str | Annotated[list[InputPart], Meta(min_length=1)]


class SummaryText(Shape, tag_field="type", tag="summary_text"):
    """A paragraph of what was thought, retold."""

    text: str


class ReasoningText(Shape, tag_field="type", tag="reasoning_text"):
    """What was thought."""

    text: str


class ReasoningItem(Shape, tag_field="type", tag="reasoning"):
    """What the model thought earlier; `encrypted_content` holds the state that was given for it."""

    summary: list[SummaryText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


AnyItem = MessageItem | CallItem | ResultItem | ReasoningItem


class FunctionTool(Shape, tag_field="type", tag="function"):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: Identifier
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamespaceTool(Shape, tag_field="type", tag="namespace"):
    """Functions that belong together."""

    name: Identifier
    tools: Annotated[list[FunctionTool], Meta(min_length=1, max_length=MAX_TOOLS)]
    description: str | None = None


class ChosenTool(Shape, tag_field="type", tag="function"):
    """The function that the model must call."""

    name: Identifier


class AllowedTools(Shape, tag_field="type", tag="allowed_tools"):
    """The choice among some of the tools; the others are left out of the request."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenTool], Meta(min_length=1, max_length=MAX_TOOLS)]


class TextFormat(Shape, tag_field="type", tag="text"):
    """Plain text."""


class JsonObjectFormat(Shape, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchemaFormat(Shape, tag_field="type", tag="json_schema"):
    """JSON that a schema describes."""

    name: Identifier
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


AnyToolChoice = Literal["none", "auto", "required"] | ChosenTool | AllowedTools
AnyFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class TextWishes(Shape):
    """How the text of the answer is wanted."""

    format: AnyFormat | None = None
    verbosity: Verbosity | None = None


class ReasoningWishes(Shape):
    """How much is to be thought; that it be retold is asked for anyway."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


Included = Literal["reasoning.encrypted_content", "message.output_text.logprobs"]


class ResponsesRequest(Shape):
    """The body of `POST /v1/responses`."""

    model: Name
    input: str | Annotated[list[AnyItem], Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Positive | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[Included] | None = None
    tools: Annotated[list[FunctionTool | NamespaceTool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: AnyToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningWishes | None = None
    text: TextWishes | None = None
    truncation: Literal["disabled"] | None = None
    stream: bool | None = None
