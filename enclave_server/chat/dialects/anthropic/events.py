"""Events of a streamed answer of Anthropic's Messages API."""

from collections.abc import Iterator

import msgspec

from enclave_server.chat.conversation import (
    END,
    ChoiceDelta,
    Delta,
    Event,
)
from enclave_server.chat.dialects.anthropic.answers import (
    Block,
    Tokens,
    add_block,
    reason_of,
)
from enclave_server.chat.dialects.anthropic.faults import Fault, fault_in_stream
from enclave_server.chat.dialects.anthropic.messages import NAME
from enclave_server.chat.dialects.blocks import Blocks, one_form
from enclave_server.chat.dialects.handing import NO_LIMIT, pack, restore, save, unpack
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.event_stream import EventParser, EventTooLarge


class Begun(msgspec.Struct):
    """What is read of the message that begins."""

    usage: Tokens | None = None


class Added(msgspec.Struct):
    """What is read of a delta, be it a block's or the message's."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class MessageEvent(msgspec.Struct):
    """What is read of an event of any type."""

    type: str
    message: Begun | None = None
    content_block: Block | None = None
    delta: Added | None = None
    usage: Tokens | None = None
    error: Fault | None = None


_DECODER = msgspec.json.Decoder(MessageEvent)


class MessageEvents(msgspec.Struct):
    """Reads the events of one answer, each a JSON text."""

    blocks: Blocks = msgspec.field(default_factory=lambda: Blocks(NAME))
    tokens: Tokens = msgspec.field(default_factory=Tokens)
    begun: bool = False
    reason: str = "stop"

    @property
    def kept(self) -> int:
        """The octets that are kept of the answer, about."""
        return self.blocks.kept

    def take(self, data: str | bytes) -> Iterator[Event]:
        """Yield what an event says; raises UpstreamError."""
        try:
            event = _DECODER.decode(data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise UpstreamError(Failure.BROKEN) from None
        match event.type:
            case "message_start":
                yield from self._begin(event.message or Begun())
            case "content_block_start":
                yield from self.blocks.end()
                yield from _start(self.blocks, event.content_block)
            case "content_block_delta":
                yield from self._add(event.delta or Added())
            case "content_block_stop":
                yield from self.blocks.end()
            case "message_delta":
                self.tokens.update(event.usage)
                self._take_reason(event.delta or Added())
            case "message_stop":
                # Not before: an answer that is cut after its reason is not complete either.
                yield from self.blocks.finish(self.reason)
                yield Event(usage=self.tokens.usage())
                yield END
            case "error":
                raise fault_in_stream(event.error or Fault())

    def _begin(self, message: Begun) -> Iterator[Event]:
        self.tokens.update(message.usage)
        if self.begun:
            self.blocks.forget()
        else:
            self.begun = True
            yield Event([ChoiceDelta(0, Delta(role="assistant"))])

    def _add(self, delta: Added) -> Iterator[Event]:
        match delta.type:
            case "text_delta":
                yield from self.blocks.say(delta.text or "")
            case "thinking_delta":
                yield from self.blocks.think(delta.thinking or "")
            case "signature_delta":
                self.blocks.sign(delta.signature or "")
            case "input_json_delta" if delta.partial_json:
                self.blocks.argue(delta.partial_json)

    def _take_reason(self, delta: Added) -> None:
        if delta.stop_reason is not None:
            self.reason = reason_of(delta.stop_reason)


def _start(blocks: Blocks, block: Block | None) -> Iterator[Event]:
    if block is None:
        raise UpstreamError(Failure.BROKEN)
    if block.type == "tool_use":
        blocks.call(block.id or "", block.name or "", one_form(block.input))
    else:
        yield from add_block(blocks, block)


class EventReader:
    """Reads the server-sent events of an answer."""

    __slots__ = ("_events", "_parser", "largest")

    def __init__(self) -> None:
        self.largest = NO_LIMIT
        self._parser = EventParser()
        self._events = MessageEvents()

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside what it has given, about."""
        return self._parser.kept + self._events.kept

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
                yield from self._events.take(event.data)

    def read(self, octets: bytes) -> Iterator[Event]:
        """Yield what a large event says; raises UpstreamError."""
        yield from self._events.take(unpack(octets).data)

    def save(self) -> bytes:
        """Return the state; raises UpstreamError."""
        return save(self._events)

    def restore(self, state: bytes) -> None:
        """Go on from a state that was saved."""
        self._events = restore(state, MessageEvents)
