"""Streamed answers: an upstream's events in, the gateway's own out.

As with whole answers, only known members pass. The signature stands in the last event before
`[DONE]`; so the newest event that ends a choice is held back until it is known to be the last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from enclave_server.chat.dialects.faults import fault_in_stream
from enclave_server.chat.dialects.whole_answer import MAX_ANSWER_BYTES, Identity, Logprobs, Usage
from enclave_server.chat.errors import ChatError, Failure, UpstreamError

DONE = "[DONE]"
NO_ERROR = msgspec.Raw()
DONE_EVENT = b"data: [DONE]\n\n"

# Words that are kept one by one before they become one text: each costs some fifty octets more.
LOOSE_WORDS = 256

# What a tool call and each of its fragments take besides their characters, somewhat generously.
CALL_OCTETS = 512
FRAGMENT_OCTETS = 64

Outputs = Sequence[dict[str, Any]]
Sign = Callable[[Outputs], dict[str, str | int]]


class CalledPart(msgspec.Struct, omit_defaults=True):
    """A fragment of a called function."""

    name: str | None = None
    arguments: str | None = None


class ToolCallPart(msgspec.Struct, omit_defaults=True):
    """A fragment of a tool call; the call's identifier and name come with the first one."""

    index: int
    id: str | None = None
    type: str | None = None
    function: CalledPart = msgspec.field(default_factory=CalledPart)


class Delta(msgspec.Struct, omit_defaults=True):
    """What an event adds to a chat answer."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallPart] | None = None


NO_DELTA = Delta()


class ChatPart(msgspec.Struct):
    """What an event says of one choice of a chat."""

    index: int
    delta: Delta = msgspec.field(default_factory=Delta)
    logprobs: Logprobs | None = None
    finish_reason: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was left of it."""
        return self.delta == NO_DELTA and self.logprobs is None and self.finish_reason is None


class TextPart(msgspec.Struct):
    """What an event adds to one choice of a completion."""

    index: int
    text: str = ""
    logprobs: Logprobs | None = None
    finish_reason: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was left of it."""
        return not self.text and self.logprobs is None and self.finish_reason is None


class ChatEvent(msgspec.Struct):
    """What is read of an event of a chat."""

    choices: list[ChatPart] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: msgspec.Raw = NO_ERROR


class TextEvent(msgspec.Struct):
    """What is read of an event of a completion."""

    choices: list[TextPart] = msgspec.field(default_factory=list)
    usage: Usage | None = None
    error: msgspec.Raw = NO_ERROR


@dataclass(slots=True)
class Call:
    """A tool call as far as it has come."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Choice:
    """A choice as far as it has come."""

    text: list[str] = field(default_factory=list)
    calls: dict[int, Call] = field(default_factory=dict)
    finished: bool = False

    def add_text(self, text: str | None) -> int:
        """Append `text`; return its size in characters."""
        if text:
            self.text.append(text)
            if len(self.text) > LOOSE_WORDS:
                self.text = ["".join(self.text)]
        return len(text or "")

    def add_call(self, part: ToolCallPart) -> int:
        """Append a fragment, put it into its plainest form, and return what it takes in octets."""
        arguments = part.function.arguments or ""
        known = self.calls.get(part.index)
        taken = len(arguments) + (CALL_OCTETS if known is None else FRAGMENT_OCTETS)
        if known is None:
            known = Call(part.id or "", part.function.name or "")
            self.calls[part.index] = known
            part.id, part.type, part.function.name = known.id, "function", known.name
            part.function.arguments = arguments
        else:
            # Programs join the fragments of each member: what was sent must not come again.
            part.id = part.type = part.function.name = None
        known.arguments.append(arguments)
        return taken + len(known.name) + len(known.id)

    def output(self) -> dict[str, Any]:
        """Return what `protocol.signature` signs of it."""
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            for _, call in sorted(self.calls.items())
        ]
        return {"content": "".join(self.text), "tool_calls": calls}


@dataclass(frozen=True, slots=True)
class Expected:
    """What was asked for: the number of choices, and whether to end with the count of tokens."""

    choices: int
    usage: bool


class Recoder:
    """Turns the data of an upstream's events (ChatEvent or TextEvent) into the gateway's events."""

    def __init__(
        self,
        kind: type[ChatEvent] | type[TextEvent],
        identity: Identity,
        expected: Expected,
        sign: Sign,
    ) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        object_type = "chat.completion.chunk" if kind is ChatEvent else "text_completion"
        head = {
            "id": identity.id,
            "object": object_type,
            "created": identity.created,
            "model": identity.model,
        }
        # Encoded once: 0.6 µs less an event.
        self._head = b"data: " + msgspec.json.encode(head)[:-1] + b',"choices":'
        self._expected, self._sign = expected, sign
        self._choices: dict[int, Choice] = {}
        self._usage: Usage | None = None
        self._held: list[Sequence[ChatPart | TextPart]] = []
        self._size = 0
        self.done = False

    def feed(self, data: str) -> bytes:
        """Return the events that an upstream's event becomes; raises UpstreamError."""
        if data == DONE:
            self.done = True
        if self.done:
            return b""
        try:
            event = self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            raise UpstreamError(Failure.BROKEN) from None
        if event.error is not NO_ERROR and bytes(event.error) != b"null":
            raise fault_in_stream(bytes(event.error))
        self._usage = event.usage or self._usage
        parts = [part for part in event.choices if self._take(part)]
        return self._pass_on(parts) if parts else b""

    def finish(self) -> bytes:
        """Return the last events; raises UpstreamError if the answer is not complete."""
        unfinished = [index for index, choice in self._choices.items() if not choice.finished]
        complete = self.done or (len(self._choices) >= self._expected.choices and not unfinished)
        if not complete or not self._choices:
            raise UpstreamError(Failure.BROKEN)
        text = b"".join(self._pass_on([self._stop(index)]) for index in unfinished)
        signature = self._sign([choice.output() for _, choice in sorted(self._choices.items())])
        held = self._held.pop() if self._held else ()
        if self._expected.usage and self._usage is not None:
            text += self._encode(held) + self._encode((), usage=self._usage, **signature)
        else:
            text += self._encode(held, **signature)
        return text + DONE_EVENT

    def _take(self, part: ChatPart | TextPart) -> bool:
        """Add `part` to its choice; return whether something of it is to be passed on."""
        choice = self._choices.get(part.index)
        if choice is None:
            if part.index not in range(self._expected.choices):  # each is kept, however short
                raise UpstreamError(Failure.BROKEN)
            choice = self._choices[part.index] = Choice()
        if isinstance(part, TextPart):
            self._size += choice.add_text(part.text)
        else:
            if part.delta.role is not None:
                part.delta.role = "assistant"
            self._size += choice.add_text(part.delta.content)
            for call in part.delta.tool_calls or ():
                self._size += choice.add_call(call)
        if self._size > MAX_ANSWER_BYTES:
            raise UpstreamError(Failure.BROKEN)
        choice.finished = choice.finished or part.finish_reason is not None
        return not part.is_empty

    def _pass_on(self, parts: Sequence[ChatPart | TextPart]) -> bytes:
        text = self._encode(self._held.pop()) if self._held else b""
        for part in parts:
            if part.finish_reason is not None:
                self._held.append(parts)
                return text
        return text + self._encode(parts)

    def _stop(self, index: int) -> ChatPart | TextPart:
        if self._decoder.type is ChatEvent:
            return ChatPart(index, finish_reason="stop")
        return TextPart(index, finish_reason="stop")

    def _encode(self, parts: Sequence[ChatPart | TextPart], **more: object) -> bytes:
        end = b"," + msgspec.json.encode(more)[1:] if more else b"}"
        return self._head + msgspec.json.encode(parts) + end + b"\n\n"


def error_event(error: ChatError) -> bytes:
    """Return the event that ends a failed stream; no `[DONE]` follows it."""
    return b"data: " + error.encode() + b"\n\n"
