"""Answers of OpenAI's API: what is kept of an upstream's, whole and streamed.

Members that these structures and the neutral form do not have are dropped: fingerprints, tiers,
timings, cache counts.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET

from enclave_server.chat.conversation import (
    END,
    Answer,
    Choice,
    ChoiceDelta,
    Conversation,
    Delta,
    Event,
    Kind,
    Logprobs,
    Reply,
    Usage,
)
from enclave_server.chat.dialects.openai_chat.faults import fault_in_stream
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.event_stream import DONE, EventParser, EventTooLarge

NO_ERROR = msgspec.Raw()


class TextChoice(msgspec.Struct):
    """One of the continuations of a prompt."""

    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class ChatAnswer(msgspec.Struct):
    """What is read of a chat completion."""

    choices: list[Choice]
    usage: Usage | None = None


class TextAnswer(msgspec.Struct):
    """What is read of a completion."""

    choices: list[TextChoice]
    usage: Usage | None = None


class TextDelta(msgspec.Struct):
    """What an event adds to one continuation."""

    index: int
    text: str = ""
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class ChatChunk(msgspec.Struct):
    """What is read of an event of a chat."""

    choices: list[ChoiceDelta] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: msgspec.Raw = NO_ERROR


class TextChunk(msgspec.Struct):
    """What is read of an event of a completion."""

    choices: list[TextDelta] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: msgspec.Raw = NO_ERROR


def read_answer(kind: Kind, body: bytes) -> Answer:
    """Return an upstream's whole answer; raises UpstreamError."""
    answer = _decode(body, ChatAnswer if kind is Conversation else TextAnswer)
    choices = sorted(_choices(answer), key=lambda choice: choice.index)
    if not choices:
        raise UpstreamError(Failure.BROKEN)
    for choice in choices:
        _make_plain(choice)
    return Answer(choices, answer.usage)


def _decode(body: bytes, kind: Any) -> ChatAnswer | TextAnswer:
    try:
        answer: ChatAnswer | TextAnswer = msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None
    return answer


def _choices(answer: ChatAnswer | TextAnswer) -> list[Choice]:
    if isinstance(answer, ChatAnswer):
        return answer.choices
    return [
        Choice(choice.index, Reply(content=choice.text), choice.logprobs, choice.finish_reason)
        for choice in answer.choices
    ]


def _make_plain(choice: Choice) -> None:
    """Say what every server means, where some leave it out or use another word."""
    choice.finish_reason = choice.finish_reason or "stop"
    choice.message.role = "assistant"
    for call in choice.message.tool_calls or ():
        call.type = "function"
    choice.message.tool_calls = choice.message.tool_calls or UNSET


class ChunkReader:
    """Reads the server-sent events of a streamed answer; `[DONE]` ends it."""

    __slots__ = ("_decoder", "_parser")

    def __init__(self, kind: Kind) -> None:
        chunk: Any = ChatChunk if kind is Conversation else TextChunk
        self._decoder: msgspec.json.Decoder[ChatChunk | TextChunk] = msgspec.json.Decoder(chunk)
        self._parser = EventParser()

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that `piece` completes; raises UpstreamError."""
        try:
            events = self._parser.feed(piece)
        except EventTooLarge:
            raise UpstreamError(Failure.BROKEN) from None
        for event in events:
            yield END if event.data == DONE else self._read(event.data)

    def _read(self, data: str) -> Event:
        try:
            chunk = self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            raise UpstreamError(Failure.BROKEN) from None
        if chunk.error is not NO_ERROR and bytes(chunk.error) != b"null":
            raise fault_in_stream(bytes(chunk.error))
        if isinstance(chunk, ChatChunk):
            return Event(chunk.choices, chunk.usage)
        return Event([_delta(part) for part in chunk.choices], chunk.usage)


def _delta(part: TextDelta) -> ChoiceDelta:
    delta = Delta(content=part.text or None)
    return ChoiceDelta(part.index, delta, part.logprobs, part.finish_reason)
