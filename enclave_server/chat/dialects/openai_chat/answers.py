"""Answers of OpenAI's API: what is kept of an upstream's, whole and streamed.

Members that these structures and the neutral form do not have are dropped: fingerprints, tiers,
timings, cache counts. What is not in the usual shape goes through `tolerance`.
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
    PartState,
    Reply,
    Usage,
)
from enclave_server.chat.dialects.handing import NO_LIMIT, pack, restore, save, unpack
from enclave_server.chat.dialects.openai_chat import tolerance
from enclave_server.chat.dialects.openai_chat.calls import Numbering, identify
from enclave_server.chat.dialects.openai_chat.endings import meaning
from enclave_server.chat.dialects.openai_chat.faults import (
    fault_if_flat,
    fault_in_event,
    fault_in_stream,
)
from enclave_server.chat.dialects.openai_chat.thoughts import Thoughts
from enclave_server.chat.errors import Failure, UpstreamError
from protocol import event_stream
from protocol.event_stream import DONE, EventParser, EventTooLarge

NO_ERROR = msgspec.Raw()

# What some servers call reasoning. Within a string it would not stand between bare quotes.
OTHER_NAME = '"reasoning"'

# An object that is an error, and says so in no member of that name.
FLAT = '"message"'

# Where Google's endpoint has the signature of a thought.
EXTRA = '"extra_content"'


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
    error: msgspec.Raw = NO_ERROR


class TextAnswer(msgspec.Struct):
    """What is read of a completion."""

    choices: list[TextChoice]
    usage: Usage | None = None
    error: msgspec.Raw = NO_ERROR


class TextDelta(msgspec.Struct):
    """What an event adds to one continuation."""

    index: int
    text: str = ""
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class GroqMembers(msgspec.Struct):
    """What Groq says in a place of its own."""

    usage: Usage | None = None


class ChatChunk(msgspec.Struct):
    """What is read of an event of a chat."""

    choices: list[ChoiceDelta] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: msgspec.Raw = NO_ERROR
    x_groq: GroqMembers | None = None


class TextChunk(msgspec.Struct):
    """What is read of an event of a completion."""

    choices: list[TextDelta] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: msgspec.Raw = NO_ERROR
    x_groq: GroqMembers | None = None


Odd = dict[str, Any] | None
Read = ChatAnswer | TextAnswer | ChatChunk | TextChunk


def read_answer(kind: Kind, body: bytes) -> Answer:
    """Return an upstream's whole answer; raises UpstreamError."""
    answer, odd = _decode_whole(body, ChatAnswer if kind is Conversation else TextAnswer)
    choices = _choices(answer)
    if not choices:
        raise UpstreamError(Failure.BROKEN)
    for choice in choices:
        _make_plain(choice)
    states = _states_of(choices, odd) if odd else ()
    return Answer(sorted(choices, key=lambda choice: choice.index), _counted(answer.usage), states)


def _decode_whole(body: bytes, kind: Any) -> tuple[ChatAnswer | TextAnswer, Odd]:
    """Return an answer, and the object that it was read from if that is not the usual one."""
    answer: ChatAnswer | TextAnswer
    try:
        answer, odd = msgspec.json.decode(body, type=kind), None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer, odd = _tolerate(body, kind)
    else:
        if OTHER_NAME.encode() in body or EXTRA.encode() in body:
            answer, odd = _tolerate(body, kind)
    _raise_error(answer)
    return answer, odd


def _tolerate(data: bytes | str, kind: Any) -> tuple[Any, Odd]:
    """Return what `data` means, and the object that it is; raises UpstreamError."""
    try:
        odd = msgspec.json.decode(data, type=dict[str, Any] | None) or {}
        if odd.get("error") is not None:
            raise fault_in_stream(msgspec.json.encode(odd["error"]))
        return msgspec.convert(tolerance.usual(odd), kind), odd
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None


def _states_of(choices: list[Choice], odd: dict[str, Any]) -> tuple[PartState, ...]:
    """Return the states in `odd`, of which `choices` were read, in the same order."""
    thoughts, states = Thoughts(), []
    for choice, said in zip(choices, tolerance.messages(odd), strict=True):
        calls = range(len(choice.message.tool_calls or ()))
        states += thoughts.take(choice.index, said, calls)
    return (*states, *thoughts.rest())


def _raise_error(read: Read) -> None:
    if read.error is not NO_ERROR and bytes(read.error) != b"null":
        raise fault_in_stream(bytes(read.error))


def _choices(answer: ChatAnswer | TextAnswer) -> list[Choice]:
    if isinstance(answer, ChatAnswer):
        return answer.choices
    return [
        Choice(choice.index, Reply(content=choice.text), choice.logprobs, choice.finish_reason)
        for choice in answer.choices
    ]


def _make_plain(choice: Choice) -> None:
    """Say what every server means, where some leave it out or use another word."""
    message = choice.message
    identify(message.tool_calls or ())
    message.tool_calls = message.tool_calls or UNSET
    message.reasoning_content = message.reasoning_content or UNSET
    message.role = "assistant"
    end = meaning(choice.finish_reason or "stop", has_calls=bool(message.tool_calls))
    choice.finish_reason = end or "stop"


def _usage_of(chunk: ChatChunk | TextChunk) -> Usage | None:
    usage = chunk.usage
    if usage is None and chunk.x_groq is not None:
        usage = chunk.x_groq.usage
    return usage if usage is None else _counted(usage)


def _counted(usage: Usage | None) -> Usage | None:
    """Return the count without the details that some servers name and leave empty."""
    if usage is not None:
        usage.completion_tokens_details = usage.completion_tokens_details or UNSET
    return usage


class Progress(msgspec.Struct):
    """What is known of an answer so far: how calls of each choice are numbered, and thoughts."""

    calls: dict[int, Numbering] = {}
    thoughts: Thoughts = msgspec.field(default_factory=Thoughts)


class ChunkReader:
    """Reads the server-sent events of a streamed answer; `[DONE]` ends it."""

    __slots__ = ("_decoder", "_kind", "_parser", "_progress", "largest")

    def __init__(self, kind: Kind) -> None:
        self.largest = NO_LIMIT
        self._kind: Any = ChatChunk if kind is Conversation else TextChunk
        self._decoder: msgspec.json.Decoder[ChatChunk | TextChunk] = msgspec.json.Decoder(
            self._kind
        )
        self._parser = EventParser()
        self._progress = Progress()

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside what it has given, about."""
        return self._parser.kept + self._progress.thoughts.kept

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that `piece` completes; raises UpstreamError."""
        try:
            events = self._parser.feed(piece)
        except EventTooLarge:
            raise UpstreamError(Failure.BROKEN) from None
        for event in events:
            if len(event.data) > self.largest:
                yield Event(large=pack(event))
            else:
                yield self._end() if event.data == DONE else self._read(event)

    def read(self, octets: bytes) -> Iterator[Event]:
        """Yield what a large event says; raises UpstreamError."""
        yield self._read(unpack(octets))

    def save(self) -> bytes:
        """Return the state; raises UpstreamError."""
        return save(self._progress)

    def restore(self, state: bytes) -> None:
        """Go on from a state that was saved."""
        self._progress = restore(state, Progress)

    def _end(self) -> Event:
        states = self._progress.thoughts.rest()
        return Event(states=states, ends=True) if states else END

    def _read(self, event: event_stream.Event) -> Event:
        data = event.data
        if event.type == "error":
            raise fault_in_event(data)
        chunk, odd = self._decode(data)
        if chunk.error is not NO_ERROR:
            _raise_error(chunk)
        if not chunk.choices or not isinstance(chunk, ChatChunk):
            return self._read_rest(chunk, data)
        for choice in chunk.choices:
            if choice.finish_reason is not None or choice.delta.tool_calls:
                self._settle(choice)
        states = self._states_of(chunk.choices, odd) if odd else ()
        return Event(chunk.choices, _usage_of(chunk), states)

    def _decode(self, data: str) -> tuple[ChatChunk | TextChunk, Odd]:
        """Return an event, and the object that it was read from if that is not the usual one."""
        try:
            chunk = self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            return _tolerate(data, self._kind)
        if OTHER_NAME in data or EXTRA in data:
            return _tolerate(data, self._kind)
        return chunk, None

    def _states_of(self, choices: list[ChoiceDelta], odd: dict[str, Any]) -> tuple[PartState, ...]:
        states: list[PartState] = []
        for choice, said in zip(choices, tolerance.messages(odd), strict=True):
            calls = [call.index for call in choice.delta.tool_calls or ()]
            states += self._progress.thoughts.take(choice.index, said, calls)
        return tuple(states)

    def _read_rest(self, chunk: ChatChunk | TextChunk, data: str) -> Event:
        """Return an event of a completion, or one without choices: a count, or a fault."""
        usage = _usage_of(chunk)
        if isinstance(chunk, TextChunk) and chunk.choices:
            return Event([_delta(part) for part in chunk.choices], usage)
        if usage is None and FLAT in data and (fault := fault_if_flat(data)):
            raise fault
        return Event(usage=usage)

    def _settle(self, choice: ChoiceDelta) -> None:
        """Number the calls of a part, and say its end in OpenAI's words."""
        if choice.delta.tool_calls:
            numbering = self._progress.calls.setdefault(choice.index, Numbering())
            for call in choice.delta.tool_calls:
                numbering.take(call)
        if choice.finish_reason is not None:
            has_calls = choice.index in self._progress.calls
            choice.finish_reason = meaning(choice.finish_reason, has_calls=has_calls)


def _delta(part: TextDelta) -> ChoiceDelta:
    delta = Delta(content=part.text or None)
    end = part.finish_reason and meaning(part.finish_reason, has_calls=False)
    return ChoiceDelta(part.index, delta, part.logprobs, end)
