"""Whole answers of Anthropic's Messages API, and what they share with streamed ones."""

from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from enclave_server.chat.conversation import Answer, Event, Usage, UsageDetails
from enclave_server.chat.dialects.anthropic.messages import NAME
from enclave_server.chat.dialects.blocks import Blocks, gather, one_form
from enclave_server.chat.errors import Failure, UpstreamError

# In the words of chat completions; any other reason ends an answer that should have gone on.
REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


class OutputDetails(msgspec.Struct):
    """How many of the answer's tokens were thought."""

    thinking_tokens: int | None = None


class Tokens(msgspec.Struct):
    """The count of tokens as far as it is told; later counts are of all before them."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None

    def update(self, later: "Tokens | None") -> None:
        """Take over what `later` tells."""
        for name in self.__struct_fields__:
            if (value := getattr(later, name, None)) is not None:
                setattr(self, name, value)

    def usage(self) -> Usage:
        """Return the count; what was read from a cache is counted like the rest of the prompt."""
        cached = (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        asked, answered = (self.input_tokens or 0) + cached, self.output_tokens or 0
        details = self.output_tokens_details or OutputDetails()
        thought = details.thinking_tokens
        return Usage(
            asked,
            answered,
            asked + answered,
            UNSET if thought is None else UsageDetails(thought),
        )


class Block(msgspec.Struct):
    """What is read of a block of any type."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class WholeMessage(msgspec.Struct):
    """What is read of an answer."""

    content: list[Block]
    stop_reason: str | None = None
    usage: Tokens | None = None


_DECODER = msgspec.json.Decoder(WholeMessage)


def read_answer(body: bytes) -> Answer:
    """Return a whole answer; raises UpstreamError."""
    try:
        message = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None
    return gather(_events(message), message.usage.usage() if message.usage else None)


def _events(message: WholeMessage) -> Iterator[Event]:
    blocks = Blocks(NAME)
    for block in message.content:
        if block.type == "tool_use":
            blocks.call(block.id or "", block.name or "", one_form(block.input))
        else:
            yield from add_block(blocks, block)
        yield from blocks.end()
    yield from blocks.finish(reason_of(message.stop_reason or "end_turn"))


def add_block(blocks: Blocks, block: Block) -> Iterator[Event]:
    """Yield what a block that is no call says, whole or as it begins; raises UpstreamError."""
    match block.type:
        case "text":
            yield from blocks.say(block.text or "")
        case "thinking":
            yield from blocks.think(block.thinking or "")
            blocks.sign(block.signature or "")
        case "redacted_thinking":
            yield from blocks.hide(block.data or "")
        case "fallback":
            # Another model answered than the one that the answer is signed for.
            raise UpstreamError(Failure.BROKEN)


def reason_of(stop_reason: str) -> str:
    """Return why the answer ended; raises UpstreamError for what is no end."""
    reason = REASONS.get(stop_reason)
    if reason is None:
        raise UpstreamError(Failure.BROKEN)
    return reason
