"""Answers of Converse, whole and streamed."""

import base64
from collections.abc import Iterator

import msgspec

from enclave_server.chat.conversation import END, Answer, ChoiceDelta, Delta, Event, Usage
from enclave_server.chat.dialects.amazon.faults import fault_in_stream
from enclave_server.chat.dialects.amazon.frames import Frame, FrameParser, pack, unpack
from enclave_server.chat.dialects.bedrock.messages import NAME
from enclave_server.chat.dialects.blocks import (
    MAX_KEPT_CHARACTERS,
    NO_ARGUMENTS,
    Blocks,
    gather,
    one_form,
)
from enclave_server.chat.dialects.handing import NO_LIMIT, restore, save
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.errors import MalformedMessage

# In the words of chat completions.
REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}

# An answer that nobody can read; any other reason is no end either.
FAILURES = {"malformed_tool_use": Failure.TOOL_USE_FAILED}


class Tokens(msgspec.Struct, rename="camel"):
    """The count of tokens; what was read from a cache or written to it is counted apart."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0

    def usage(self) -> Usage:
        """Return the count, with what was cached counted like the rest of the prompt."""
        asked = self.input_tokens + self.cache_read_input_tokens + self.cache_write_input_tokens
        return Usage(asked, self.output_tokens, asked + self.output_tokens)


class ToolUse(msgspec.Struct, rename="camel"):
    """What is read of a call, or of its beginning."""

    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()


class Fragment(msgspec.Struct):
    """A piece of a call's arguments."""

    input: str = ""


class ReasoningText(msgspec.Struct):
    """A thought, or what is added to it."""

    text: str | None = None
    signature: str | None = None


class Reasoning(msgspec.Struct, rename="camel"):
    """A thought of an answer."""

    reasoning_text: ReasoningText | None = None
    redacted_content: bytes | None = None


class ReasoningDelta(ReasoningText, rename="camel"):
    """What is added to a thought."""

    redacted_content: bytes | None = None


class Block(msgspec.Struct, rename="camel"):
    """What is read of a block of a whole answer."""

    text: str | None = None
    tool_use: ToolUse | None = None
    reasoning_content: Reasoning | None = None


class Added(msgspec.Struct, rename="camel"):
    """What is added to a block of a streamed answer."""

    text: str | None = None
    tool_use: Fragment | None = None
    reasoning_content: ReasoningDelta | None = None


class Begun(msgspec.Struct, rename="camel"):
    """How a block begins; only calls say that they do."""

    tool_use: ToolUse | None = None


class Said(msgspec.Struct):
    """What the model says."""

    content: list[Block]


class Output(msgspec.Struct):
    """The answer itself."""

    message: Said


class WholeAnswer(msgspec.Struct, rename="camel"):
    """What is read of an answer."""

    output: Output
    stop_reason: str
    usage: Tokens | None = None


class ConverseEvent(msgspec.Struct, rename="camel"):
    """What is read of an event of any type."""

    start: Begun | None = None
    delta: Added | None = None
    stop_reason: str = ""
    usage: Tokens | None = None


_DECODER = msgspec.json.Decoder(WholeAnswer)
_EVENTS = msgspec.json.Decoder(ConverseEvent)


class Progress(msgspec.Struct):
    """What is known of an answer so far; `hidden` is of a thought that is not shown."""

    blocks: Blocks = msgspec.field(default_factory=lambda: Blocks(NAME))
    hidden: bytearray = msgspec.field(default_factory=bytearray)


def read_answer(body: bytes) -> Answer:
    """Return a whole answer; raises UpstreamError."""
    try:
        answer = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None
    return gather(_events(answer), answer.usage.usage() if answer.usage else None)


def _events(answer: WholeAnswer) -> Iterator[Event]:
    blocks = Blocks(NAME)
    for block in answer.output.message.content:
        yield from _add(blocks, block)
        yield from blocks.end()
    yield from blocks.finish(reason_of(answer.stop_reason))


def _add(blocks: Blocks, block: Block) -> Iterator[Event]:
    yield from blocks.say(block.text or "")
    if (call := block.tool_use) is not None:
        blocks.call(call.tool_use_id, call.name, one_form(call.input))
    if (thought := block.reasoning_content) is not None:
        if thought.redacted_content is not None:
            yield from blocks.hide(base64.b64encode(thought.redacted_content).decode())
        if (text := thought.reasoning_text) is not None:
            yield from blocks.think(text.text or "")
            blocks.sign(text.signature or "")


def reason_of(stop_reason: str) -> str:
    """Return why the answer ended; raises UpstreamError for what is no end."""
    reason = REASONS.get(stop_reason)
    if reason is None:
        raise UpstreamError(FAILURES.get(stop_reason, Failure.BROKEN))
    return reason


class ConverseEvents:
    """Reads the frames of a streamed answer."""

    __slots__ = ("_parser", "_progress", "largest")

    def __init__(self) -> None:
        self.largest = NO_LIMIT
        self._parser = FrameParser()
        self._progress = Progress()

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside what it has given, about."""
        return self._parser.kept + self._progress.blocks.kept + len(self._progress.hidden)

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that `piece` completes; raises UpstreamError."""
        try:
            for frame in self._parser.feed(piece):
                if len(frame.payload) > self.largest:
                    yield Event(large=pack(frame))
                else:
                    yield from self._take(frame)
        except MalformedMessage:
            raise UpstreamError(Failure.BROKEN) from None

    def read(self, octets: bytes) -> Iterator[Event]:
        """Yield what a large frame says; raises UpstreamError."""
        yield from self._take(unpack(octets))

    def save(self) -> bytes:
        """Return the state; raises UpstreamError."""
        return save(self._progress)

    def restore(self, state: bytes) -> None:
        """Go on from a state that was saved."""
        self._progress = restore(state, Progress)

    def _take(self, frame: Frame) -> Iterator[Event]:
        if frame.headers.get(":message-type") != "event":
            raise fault_in_stream(frame)
        event = self._decode(frame.payload)
        match frame.headers.get(":event-type"):
            case "messageStart":
                yield Event([ChoiceDelta(0, Delta(role="assistant"))])
            case "contentBlockStart" if event.start is not None:
                self._start(event.start)
            case "contentBlockDelta" if event.delta is not None:
                yield from self._add(event.delta)
            case "contentBlockStop":
                yield from self._end()
            case "messageStop":
                yield from self._end()
                yield from self._progress.blocks.finish(reason_of(event.stop_reason))
            case "metadata":
                yield Event(usage=event.usage.usage() if event.usage else None)
                yield END

    def _decode(self, payload: bytes) -> ConverseEvent:
        try:
            return _EVENTS.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamError(Failure.BROKEN) from None

    def _start(self, begun: Begun) -> None:
        if begun.tool_use is not None:
            self._progress.blocks.call(
                begun.tool_use.tool_use_id, begun.tool_use.name, NO_ARGUMENTS
            )

    def _add(self, delta: Added) -> Iterator[Event]:
        yield from self._progress.blocks.say(delta.text or "")
        if delta.tool_use is not None and delta.tool_use.input:
            self._progress.blocks.argue(delta.tool_use.input)
        if (thought := delta.reasoning_content) is not None:
            yield from self._progress.blocks.think(thought.text or "")
            self._progress.blocks.sign(thought.signature or "")
            self._progress.hidden += thought.redacted_content or b""
            if len(self._progress.hidden) > MAX_KEPT_CHARACTERS:
                raise UpstreamError(Failure.BROKEN)

    def _end(self) -> Iterator[Event]:
        if self._progress.hidden:
            yield from self._progress.blocks.hide(base64.b64encode(self._progress.hidden).decode())
            self._progress.hidden.clear()
        yield from self._progress.blocks.end()
