"""Answers of generateContent: candidates made of parts, whole and as far as they have come."""

import secrets

import msgspec
from msgspec import UNSET

from enclave_server.chat.conversation import (
    Answer,
    Call,
    Choice,
    Function,
    Logprobs,
    PartState,
    Reply,
    TokenLogprob,
)
from enclave_server.chat.dialects.gemini.faults import fault_in_stream
from enclave_server.chat.dialects.gemini.partial_calls import Folder
from enclave_server.chat.dialects.gemini.shapes import (
    Candidate,
    FunctionCall,
    Part,
    Response,
    finish_reason,
    logprobs_of,
    usage_of,
)
from enclave_server.chat.dialects.gemini.signatures import keep
from enclave_server.chat.errors import Failure, UpstreamError

# One object; of a stream without `alt=sse` a list of them.
_DECODER = msgspec.json.Decoder(Response | list[Response])


def read_answer(body: bytes) -> Answer:
    """Return a whole answer; raises UpstreamError."""
    responses = decode(body)
    usages = [usage for item in responses if (usage := usage_of(item.usage_metadata)) is not None]
    usage = usages[-1] if usages else None
    if any(response.is_blocked for response in responses):
        refused = Choice(0, Reply(content=""), finish_reason="content_filter")
        return Answer([refused], usage)
    replies: dict[int, _Reply] = {}
    for candidate in (each for item in responses for each in item.candidates or ()):
        index = candidate.index or 0
        replies.setdefault(index, _Reply(index)).add(candidate)
    if not replies:
        raise UpstreamError(Failure.BROKEN)
    ordered = [reply for _, reply in sorted(replies.items())]
    states = tuple(state for reply in ordered for state in reply.states())
    return Answer([reply.choice() for reply in ordered], usage, states)


def decode(text: bytes | str) -> list[Response]:
    """Return what a JSON text has of an answer; raises UpstreamError, also one that it says."""
    try:
        said = _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None
    responses = said if isinstance(said, list) else [said]
    for response in responses:
        if bytes(response.error) not in (b"", b"null"):
            raise fault_in_stream(bytes(response.error))
    return responses


def call_of(call: FunctionCall) -> Call:
    """Return a call; raises UpstreamError for one without a name.

    Most have no identifier: one is drawn, by which its result will be known.
    """
    if not call.name:
        raise UpstreamError(Failure.BROKEN)
    # Of the members' values only the blanks between them are another's.
    arguments = msgspec.json.format(msgspec.json.encode(call.args or {}), indent=-1).decode()
    return Call(call.id or new_identifier(), Function(call.name, arguments))


def new_identifier() -> str:
    """Return an identifier that no other call has."""
    return f"call_{secrets.token_hex(12)}"


class _Reply:
    """One of the answers, put together."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._parts: list[Part] = []
        self._folder = Folder()
        self._tokens: list[TokenLogprob] = []
        self._reason: str | None = None

    def add(self, candidate: Candidate) -> None:
        """Add what `candidate` has more."""
        for part in candidate.parts:
            self._parts += self._folder.take(part)
        if candidate.finish_reason:
            self._parts += self._folder.end()
        logprobs = logprobs_of(candidate.logprobs_result)
        self._tokens += (logprobs.content if logprobs else None) or []
        self._reason = candidate.finish_reason or self._reason

    def choice(self) -> Choice:
        """Return the answer; raises UpstreamError if it has no end, or failed."""
        calls = [call_of(part.function_call) for part in self._parts if part.function_call]
        text = "".join(part.text or "" for part in self._parts if not part.thought)
        thought = "".join(part.text or "" for part in self._parts if part.thought)
        reply = Reply(
            content=text or (None if calls else ""),
            tool_calls=calls or UNSET,
            reasoning_content=thought or UNSET,
        )
        logprobs = Logprobs(content=self._tokens) if self._tokens else None
        reason = finish_reason(self._reason or "", calls=bool(calls))
        return Choice(self._index, reply, logprobs, reason)

    def states(self) -> list[PartState]:
        """Return the signatures: each call's, and the last of those that came with text."""
        states, text, calls = [], None, 0
        for part in self._parts:
            if part.function_call is not None:
                if part.thought_signature:
                    states.append(PartState(self._index, keep(part.thought_signature), calls))
                calls += 1
            elif part.thought_signature:
                text = PartState(self._index, keep(part.thought_signature))
        return states if text is None else [*states, text]
