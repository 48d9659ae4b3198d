"""Answers in Anthropic's shape, whole and in events."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from enclave_server.chat.conversation import (
    Answer,
    CallDelta,
    ChoiceDelta,
    Delta,
    Message,
    PartState,
    State,
    ToolCall,
    Usage,
    refusal_as_text,
)
from enclave_server.chat.errors import ChatError, Failure, UpstreamError
from enclave_server.chat.surfaces.messages_states import wrap, wrap_piece
from enclave_server.chat.surfaces.surface import Identity, Signature
from enclave_server.chat.thoughts import DIALECTS, Hidden, Thought, decode_pieces, in_order
from enclave_server.payment.refusals import CODES as TOKEN_CODES

Json = dict[str, Any]

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}

# By status and code of an error: the type that Anthropic's SDKs know it by.
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
OVERLOADED = "overloaded"
TOO_LONG = "context_length_exceeded"
UNKNOWN = "unknown_parameter"

# Programs know by these words that they have to shorten what they send.
TOO_LONG_WORDS = "prompt is too long"


# What other surfaces call it, by the names that it has here.
_NAMES = {
    "max_completion_tokens": "max_tokens",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
}
_QUOTED = re.compile(rf"'({'|'.join(_NAMES)})'")


def write_error(error: ChatError) -> bytes:
    """Return an error as JSON; it names the fields of this API."""
    kind = "overloaded_error" if error.code == OVERLOADED else ERROR_TYPES.get(error.status)
    text = error.message
    if error.code != UNKNOWN:  # that is a name of the program's own
        text = _QUOTED.sub(lambda quoted: f"'{_NAMES[quoted[1]]}'", text)
    if error.code == TOO_LONG:
        text = f"{TOO_LONG_WORDS}: {text}"
    told = {"type": kind or _other(error.status), "message": text}
    if error.code in TOKEN_CODES:  # programs that pay have to tell them apart
        told["code"] = error.code
    if error.token is not None:
        told["token"] = error.token
    return msgspec.json.encode({"type": "error", "error": told})


def _other(status: int) -> str:
    return "api_error" if status >= 500 else "invalid_request_error"


def fit_message(answer: Answer) -> None:
    """Change `answer` into what a message can say of it."""
    for choice in answer.choices:
        refusal_as_text(choice.message)
        for call in choice.message.tool_calls or ():
            call.function.arguments = _as_json(call.function.arguments)


def _as_json(arguments: str) -> str:
    """Return arguments that stand in JSON as they are; of none, or of cut ones, an empty object.

    What is no JSON must not get there: it could end the member that it is the value of.
    """
    written = arguments.strip(" \t\n\r")
    try:
        msgspec.json.decode(written, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "{}"
    return written


def write_message(answer: Answer, identity: Identity, signature: Signature) -> bytes:
    """Return a whole answer as JSON; `signature` stands beside what it signs."""
    choice = answer.choices[0]
    message = _message(identity, list(_content(answer, identity)), _counts(answer.usage))
    message["stop_reason"] = STOP_REASONS.get(choice.finish_reason or "stop", "end_turn")
    return msgspec.json.encode({**message, **signature})


def _message(identity: Identity, content: list[Json], usage: Json) -> Json:
    return {
        "id": identity.id,
        "type": "message",
        "role": "assistant",
        "model": identity.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _counts(usage: Usage | None) -> Json:
    usage = usage or Usage(0)
    counts: Json = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    if usage.completion_tokens_details:
        thought = usage.completion_tokens_details.reasoning_tokens
        counts["output_tokens_details"] = {"thinking_tokens": thought}
    return counts


def _content(answer: Answer, identity: Identity) -> Iterator[Json]:
    reply = answer.choices[0].message
    calls = reply.tool_calls or []
    state = next((told.state for told in answer.states if told.call is None), None)
    pieces = decode_pieces(state.value) if state is not None and state.dialect in DIALECTS else []
    reasoning = reply.reasoning_content or ""
    if reasoning != "".join(piece.text for piece in pieces if isinstance(piece, Thought)):
        pieces = []
        yield {"type": "thinking", "thinking": reasoning, "signature": ""}
    numbered = [ToolCall(number, "", "") for number in range(len(calls))]
    words = Message("assistant", reply.content, reply.refusal, numbered)
    for piece in in_order(words, pieces):
        match piece:
            case str():
                yield {"type": "text", "text": piece}
            case ToolCall(number=number):
                call = calls[number]
                function, given = call.function, msgspec.Raw(call.function.arguments.encode())
                yield {"type": "tool_use", "id": call.id, "name": function.name, "input": given}
            case Thought() | Hidden():
                yield _thought(piece, state, identity)
    if state is not None and state.dialect not in DIALECTS:
        yield {"type": "redacted_thinking", "data": wrap(state, identity.origin)}


def _thought(piece: Thought | Hidden, state: State | None, identity: Identity) -> Json:
    carried = wrap_piece(piece, state.dialect if state else "", identity.origin)
    if isinstance(piece, Thought):
        return {"type": "thinking", "thinking": piece.text, "signature": carried}
    return {"type": "redacted_thinking", "data": carried}


class MessageStream:
    """Writes the events of an answer, block after block."""

    __slots__ = ("_begun", "_call", "_identity", "_index", "_kept", "_open", "_reason")

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._begun = False
        self._index = 0
        self._open: str | None = None  # the type of the block that is open
        self._call = -1  # the index of the call that was begun last
        self._reason = "stop"
        self._kept: list[State] = []

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside its texts, about."""
        return sum(len(state.value) for state in self._kept)

    def fit(self, parts: Sequence[ChoiceDelta]) -> None:
        """Say refusals as text."""
        for part in parts:
            refusal_as_text(part.delta)

    def events(self, parts: Sequence[ChoiceDelta]) -> Iterator[bytes]:
        """Yield the events that `parts` make; raises UpstreamError for a call out of turn."""
        return (event for part in parts for event in self._part(part))

    def write(self, parts: Sequence[ChoiceDelta]) -> bytes:
        """Return the events that `parts` make; raises UpstreamError for a call out of turn."""
        return b"".join(self.events(parts))

    def end_thought(self, state: State) -> bytes:
        """Return the end of a thought with its signature, or a hidden one."""
        return b"".join(self._end_thought(state))

    def keep(self, states: Sequence[PartState]) -> bytes:
        """Keep the state of the answer for its end, unless its thoughts have theirs."""
        self._kept += [
            told.state
            for told in states
            if told.call is None and told.state.dialect not in DIALECTS
        ]
        return b""

    def finish(self, usage: Usage | None, signature: Signature) -> bytes:
        """Return the last events; the signature stands in the very last."""
        return b"".join(self.conclusion(usage, signature))

    def fail(self, error: ChatError) -> bytes:
        """Return the event that ends a failed stream."""
        return b"event: error\ndata: " + write_error(error) + b"\n\n"

    def _part(self, part: ChoiceDelta) -> Iterator[bytes]:
        yield from self._begin()
        delta = part.delta
        yield from self._say(delta)
        for call in delta.tool_calls or ():
            yield from self._add_call(call)
        self._reason = part.finish_reason or self._reason

    def _say(self, delta: Delta) -> Iterator[bytes]:
        if thought := delta.reasoning_content:
            if self._open != "thinking":
                yield from self._start({"type": "thinking", "thinking": "", "signature": ""})
            yield self._delta({"type": "thinking_delta", "thinking": thought})
        for text in (delta.content, delta.refusal):
            if text:
                if self._open != "text":
                    yield from self._start({"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})

    def _add_call(self, call: CallDelta) -> Iterator[bytes]:
        if call.index > self._call:
            self._call = call.index
            named: Json = {"id": call.id or "", "name": call.function.name or "", "input": {}}
            yield from self._start({"type": "tool_use", **named})
        elif self._open != "tool_use" or call.index != self._call:
            raise UpstreamError(Failure.BROKEN)
        if fragment := call.function.arguments:
            yield self._delta({"type": "input_json_delta", "partial_json": fragment})

    def _end_thought(self, state: State) -> Iterator[bytes]:
        yield from self._begin()
        for piece in decode_pieces(state.value):
            if isinstance(piece, Thought):
                if self._open != "thinking":
                    yield from self._start({"type": "thinking", "thinking": "", "signature": ""})
                carried = wrap_piece(piece, state.dialect, self._identity.origin)
                yield self._delta({"type": "signature_delta", "signature": carried})
                yield from self._stop()
            elif isinstance(piece, Hidden):
                carried = wrap_piece(piece, state.dialect, self._identity.origin)
                yield from self._start({"type": "redacted_thinking", "data": carried})
                yield from self._stop()

    def conclusion(self, usage: Usage | None, signature: Signature) -> Iterator[bytes]:
        """Yield the last events."""
        yield from self._begin()
        yield from self._stop()
        for state in self._kept:
            data = wrap(state, self._identity.origin)
            yield from self._start({"type": "redacted_thinking", "data": data})
            yield from self._stop()
        reason = STOP_REASONS.get(self._reason, "end_turn")
        delta = {"stop_reason": reason, "stop_sequence": None}
        yield _event("message_delta", {"delta": delta, "usage": _counts(usage)})
        yield _event("message_stop", signature)

    def _begin(self) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            message = _message(self._identity, [], _counts(None))
            yield _event("message_start", {"message": message})

    def _start(self, block: Json) -> Iterator[bytes]:
        yield from self._stop()
        self._open = block["type"]
        yield _event("content_block_start", {"index": self._index, "content_block": block})

    def _stop(self) -> Iterator[bytes]:
        if self._open is not None:
            yield _event("content_block_stop", {"index": self._index})
            self._open = None
            self._index += 1

    def _delta(self, delta: Json) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})


def _event(kind: str, members: Any) -> bytes:
    data = msgspec.json.encode({"type": kind, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
