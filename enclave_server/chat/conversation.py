"""The neutral form: what is asked of a model, and what it answers.

Every surface reads requests into it and writes answers from it; every dialect writes upstream
requests from it and reads answers into it. What it has no place for can neither leave the enclave
nor come back. Absent is None throughout.

An answer's members have the names of OpenAI's chat completions, and msgspec reads and writes them
as they are: so an event of the commonest surface over the commonest dialect costs no conversion.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from enclave_server.chat.embedding import Embedding
from enclave_server.chat.errors import LIMIT_NAMES

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]
Detail = Literal["auto", "low", "high", "original"]


class State(msgspec.Struct, frozen=True):
    """What one dialect alone understands of a part, for it to have back: others leave it out.

    `origin` names the upstream and the model that made one which a client resends. The client may
    have changed it, so a dialect reads it as strictly as a request.
    """

    dialect: str
    value: bytes
    origin: tuple[str, str] | None = None


# What is asked.


class Text(msgspec.Struct, frozen=True):
    """A piece of text."""

    text: str
    state: State | None = None


class Image(msgspec.Struct, frozen=True):
    """An image, inside its URL or where the model's server can fetch it."""

    url: str
    detail: Detail | None = None


class File(msgspec.Struct, frozen=True):
    """A document, in base64. It has no name here: names of files tell whose they are."""

    data: str
    media_type: Literal["application/pdf"] = "application/pdf"


class Refusal(msgspec.Struct, frozen=True):
    """What the assistant said when it refused."""

    text: str


Part = Text | Image | File | Refusal
Content = str | list[Part]


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the assistant asked for, with arguments as it wrote them.

    Known by its number among all calls of the conversation: the identifier that a provider gave it
    would tell which answer the conversation goes on from.
    """

    number: int
    name: str
    arguments: str
    state: State | None = None


class Message(msgspec.Struct, frozen=True):
    """What somebody said; `result_of` is the number of the call that a tool answers.

    Neighbours may have the same role: text after a call is another message. `reasoning` is what the
    assistant thought then, as the client resends it, and `state` what its dialect gave for it. A
    tool that `failed` says why in its result.
    """

    role: Role
    content: Content | None = None
    refusal: str | None = None
    calls: list[ToolCall] | None = None
    result_of: int | None = None
    reasoning: str | None = None
    state: State | None = None
    failed: bool = False


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolNamed(msgspec.Struct, frozen=True):
    """The choice of the one function that the model must call."""

    name: str


class AnyText(msgspec.Struct, frozen=True):
    """The answer is text."""


class AnyObject(msgspec.Struct, frozen=True):
    """The answer is a JSON object."""


class ObjectOf(msgspec.Struct, frozen=True):
    """The answer is what a named JSON Schema describes."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


ToolChoice = Literal["none", "auto", "required"] | ToolNamed
Format = AnyText | AnyObject | ObjectOf


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What every request says: the model, limits, sampling, and how the answer is wanted.

    `usage` is whether a stream is to end with the count of tokens. `sampling` are further fields,
    by the names of those servers that know them, which the model's table lets pass.
    """

    model: str
    n: int | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    stream: bool = False
    usage: bool = False
    sampling: dict[str, Any] | None = None

    @property
    def limit_name(self) -> str | None:
        """What the client calls the limit of the answer, if it says one and by one name."""
        return None if self.max_tokens is None else "max_tokens"


class Conversation(Question, frozen=True, kw_only=True):
    """Messages that the model is to answer."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    modalities: list[Literal["text"]] | None = None

    @property
    def choices(self) -> int:
        """How many answers there will be."""
        return self.n or 1

    @property
    def limit_name(self) -> str | None:
        """What the client calls the limit of the answer, if it says one and by one name."""
        said = [name for name in LIMIT_NAMES if getattr(self, name) is not None]
        return said[0] if len(said) == 1 else None

    @property
    def shown(self) -> list[Image | File]:
        """The images and documents that are shown."""
        return [
            part
            for message in self.messages
            if isinstance(message.content, list)
            for part in message.content
            if isinstance(part, Image | File)
        ]

    @property
    def is_instructed(self) -> bool:
        """Whether anybody tells the model how to behave."""
        return any(message.role in ("system", "developer") for message in self.messages)


class Continuation(Question, frozen=True, kw_only=True):
    """A prompt that the model is to continue: text, tokens, or a list of either."""

    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return 1
        return len(self.prompt)

    @property
    def choices(self) -> int:
        """How many answers there will be."""
        return self.prompts * (self.n or 1)

    @property
    def candidates(self) -> int:
        """How many answers the model makes; the best of them are given."""
        return self.prompts * max(self.n or 1, self.best_of or 1)


AnyQuestion = Conversation | Continuation
Kind = type[Conversation] | type[Continuation] | type[Embedding]


# What is answered, whole.


class TopLogprob(msgspec.Struct):
    """A token that was likely."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(msgspec.Struct):
    """A token of the answer, and the likely ones in its place."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] = msgspec.field(default_factory=list)


class Logprobs(msgspec.Struct, omit_defaults=True):
    """The likelihood of an answer's tokens; the last four members are those of continuations."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] | None = None


class UsageDetails(msgspec.Struct):
    """How many of the tokens were thought and not said."""

    reasoning_tokens: int = 0


class Usage(msgspec.Struct):
    """The count of tokens; how many of them were cached is nobody's business."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int = 0
    completion_tokens_details: UsageDetails | UnsetType | None = UNSET


class Function(msgspec.Struct):
    """The function that the model wants called."""

    name: str
    arguments: str


class Call(msgspec.Struct):
    """A call that the model asks for."""

    id: str
    function: Function
    type: str = "function"


class Reply(msgspec.Struct):
    """What the model says, and what it thought before; a continuation is content alone."""

    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET


class Choice(msgspec.Struct):
    """One of the answers."""

    index: int
    message: Reply
    logprobs: Logprobs | None = None
    finish_reason: str | None = None

    @property
    def output(self) -> dict[str, Any]:
        """What `protocol.signature` signs of it."""
        message: dict[str, Any] = msgspec.to_builtins(self.message)
        return {"index": self.index, "message": message, "finish_reason": self.finish_reason}


class PartState(msgspec.Struct, frozen=True):
    """The state of a choice, or of one of its calls; each is told once."""

    choice: int
    state: State
    call: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """All choices, in the order of their index."""

    choices: list[Choice]
    usage: Usage | None = None
    states: tuple[PartState, ...] = ()


def without_reasoning(answer: Answer) -> Answer:
    """Return `answer` without what the model thought, and without states, which come of that."""
    for choice in answer.choices:
        choice.message.reasoning_content = UNSET
    return Answer(answer.choices, answer.usage)


# What is answered, as it comes about.


class FunctionDelta(msgspec.Struct, omit_defaults=True):
    """A fragment of a called function."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct, omit_defaults=True):
    """A fragment of a call; the call's identifier and name come with the first one."""

    index: int
    id: str | None = None
    type: str | None = None
    function: FunctionDelta = msgspec.field(default_factory=FunctionDelta)


class Delta(msgspec.Struct, omit_defaults=True):
    """What an event adds to a reply; a role alone says that the reply begins."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None
    reasoning_content: str | None = None


class ChoiceDelta(msgspec.Struct):
    """What an event says of one choice."""

    index: int
    delta: Delta = msgspec.field(default_factory=Delta)
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


def says_something(delta: Delta) -> bool:
    """Whether there is anything in `delta` for who reads the answer: text, a thought, a call."""
    return bool(delta.content or delta.refusal or delta.tool_calls or delta.reasoning_content)


def refusal_as_text(said: Reply | Delta) -> None:
    """Say the refusal in `said` as text, for surfaces that know no other."""
    if said.refusal:
        said.content = (said.content or "") + said.refusal
    said.refusal = None


class Event(msgspec.Struct, frozen=True):
    """What an upstream's event says; the last one of an answer `ends` it.

    `thought` is the state of a thought that has just ended, which that of the answer tells again:
    for surfaces in which thoughts have places of their own. `large` are the octets of an event that
    has not been read, because of its size: it says nothing else.
    """

    choices: list[ChoiceDelta] = []
    usage: Usage | None = None
    states: tuple[PartState, ...] = ()
    ends: bool = False
    thought: State | None = None
    large: bytes | None = None


END = Event(ends=True)
