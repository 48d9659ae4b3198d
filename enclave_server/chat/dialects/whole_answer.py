"""Whole answers: what is kept of an upstream's, and what the gateway puts in its place.

Members that these structures do not have are dropped: fingerprints, tiers, timings, cache counts.
The identifier, the time and the model's name are the gateway's own.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from enclave_server.chat.errors import Failure, UpstreamError

# An answer of the longest context, with logprobs, is well below.
MAX_ANSWER_BYTES = 16 * 1024 * 1024


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
    """The likelihood of an answer's tokens; the last four members are those of completions."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] | None = None


class Called(msgspec.Struct):
    """The function that the model wants called."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    """A call that the model asks for."""

    id: str
    function: Called
    type: str = "function"


class Message(msgspec.Struct):
    """A chat answer."""

    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | UnsetType | None = UNSET


class Usage(msgspec.Struct):
    """The count of tokens; how many of them were cached is nobody's business."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatChoice(msgspec.Struct):
    """One of the answers to a chat."""

    index: int
    message: Message
    logprobs: Logprobs | None = None
    finish_reason: str | None = None

    @property
    def output(self) -> dict[str, Any]:
        """What `protocol.signature` signs of it."""
        fields: dict[str, Any] = msgspec.to_builtins(self.message)
        return fields


class TextChoice(msgspec.Struct):
    """One of the completions of a prompt."""

    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: str | None = None

    @property
    def output(self) -> dict[str, Any]:
        """What `protocol.signature` signs of it."""
        return {"text": self.text}


class UpstreamChat(msgspec.Struct):
    """What is read of an upstream's chat completion."""

    choices: list[ChatChoice]
    usage: Usage | None = None


class UpstreamText(msgspec.Struct):
    """What is read of an upstream's completion."""

    choices: list[TextChoice]
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What the gateway says an answer is: identifier, Unix time, the requested model's name."""

    id: str
    created: int
    model: str


A = TypeVar("A", UpstreamChat, UpstreamText)


def parse_chat(data: bytes) -> UpstreamChat:
    """Return an upstream's chat completion; raises UpstreamError."""
    answer = _decode(data, UpstreamChat)
    for choice in answer.choices:
        choice.message.role = "assistant"
        for call in choice.message.tool_calls or ():
            call.type = "function"
        choice.message.tool_calls = choice.message.tool_calls or UNSET
    return answer


def parse_text(data: bytes) -> UpstreamText:
    """Return an upstream's completion; raises UpstreamError."""
    return _decode(data, UpstreamText)


def _decode(data: bytes, kind: type[A]) -> A:
    try:
        answer = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None
    if not answer.choices:
        raise UpstreamError(Failure.BROKEN)
    answer.choices.sort(key=lambda choice: choice.index)
    for choice in answer.choices:
        choice.finish_reason = choice.finish_reason or "stop"
    return answer


def encode_answer(
    answer: UpstreamChat | UpstreamText,
    identity: Identity,
    signature: dict[str, str | int],
) -> bytes:
    """Return the signed answer as JSON, in OpenAI's shape."""
    kind = "chat.completion" if isinstance(answer, UpstreamChat) else "text_completion"
    body = {
        "id": identity.id,
        "object": kind,
        "created": identity.created,
        "model": identity.model,
        "choices": answer.choices,
        **({} if answer.usage is None else {"usage": answer.usage}),
        **signature,
    }
    return msgspec.json.encode(body)
