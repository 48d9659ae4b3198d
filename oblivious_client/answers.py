"""Answers put together from their pieces, and their signatures checked (see protocol.signature)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oblivious_client import items
from oblivious_client.errors import AnswerTruncated, AnswerUnproven, AnswerUnreadable, ServiceError
from protocol import strict_json
from protocol.embedding_transcript import decode, vectors_of
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.event_stream import DONE, Event, EventParser, EventTooLarge
from protocol.evidence import VerifiedEvidence
from protocol.registry import DATE_PROBLEM
from protocol.signature import SignedAnswer, verify_choices, verify_embeddings

# An event of a chat stream is a few hundred octets; this bounds what a peer can make us keep.
MAX_EVENT_OCTETS = 16 * 1024 * 1024

# A state, which goes back to its provider with the next request: told once, and as a whole.
STATE_MEMBER = "extra_content"

# What a sealed problem means that is no more than its status, and what to do.
_PROBLEMS = {
    400: ("it calls the sealed request malformed", "client and gateway may not match"),
    409: (
        "the very same request had arrived before",
        "somebody on the way repeated it, and kept the answer to the first: ask again, or try "
        "another relay",
    ),
    503: ("it has no room to remember one more request", "ask again in a minute"),
}
# Types of OpenAI's error object that are no fault of the question, and codes that time alone does
# not mend.
_PASSING = ("server_error", "rate_limit_error")
_LASTING = ("key_not_provisioned", "upstream_refused")


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: the exact request body, OpenAI's object, and the evidence relied on."""

    request: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    evidence: VerifiedEvidence = field(repr=False)
    signed: SignedAnswer

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return text_of(outputs_of(self.body)[0])


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Verified embeddings: the exact request body, OpenAI's object, and the evidence relied on."""

    request: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    evidence: VerifiedEvidence = field(repr=False)
    signed: SignedAnswer

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors in the order of their entries, whichever encoding was asked for."""
        return [list(decode(vector)) for vector in vectors_of(self.body.get("data"))]


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a chat message, a delta or a completion; tool calls have none."""
    text = message.get("text") if "text" in message else message.get("content")
    return text if isinstance(text, str) else ""


def outputs_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the messages of the choices, in the order of their index."""
    return [choice.get("message", choice) for choice in choices_of(body)]


def choices_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what is signed, in the order of its index; raises AnswerUnreadable."""
    if body.get("object") == items.OBJECT:
        return [items.choice_of(body)]
    choices = body.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise AnswerUnreadable("the answer has no choices")
    if not all(isinstance(choice.get("index", 0), int) for choice in choices):
        raise AnswerUnreadable("the choices of the answer are not numbered")
    ordered = sorted(choices, key=lambda choice: choice.get("index", 0))
    if not all(isinstance(choice.get("message", choice), dict) for choice in ordered):
        raise AnswerUnreadable("a choice of the answer holds no message")
    return ordered


def check_signature(
    evidence: VerifiedEvidence, request: bytes, body: Mapping[str, Any]
) -> SignedAnswer:
    """Return the verified signature of `body`, of either version; raises AnswerUnproven."""
    try:
        return verify_choices(evidence.signing_keys, request, choices_of(body), body)
    except SignatureInvalid as error:
        raise AnswerUnproven(f"the answer's signature does not hold: {error}") from error


def check_embeddings(
    evidence: VerifiedEvidence, request: bytes, body: Mapping[str, Any]
) -> SignedAnswer:
    """Return the verified signature of a `body` of embeddings; raises AnswerUnproven."""
    try:
        return verify_embeddings(evidence.signing_keys, request, body)
    except SignatureInvalid as error:
        raise AnswerUnproven(f"the signature of the embeddings does not hold: {error}") from error


def parse_object(data: bytes | str) -> dict[str, Any]:
    """Return the JSON object in `data`; raises AnswerUnreadable."""
    try:
        return strict_json.decode_object(data)
    except MalformedMessage as error:
        raise AnswerUnreadable("the answer is no JSON object of one meaning") from error


def raise_for_error(status: int, data: bytes) -> None:
    """Raise ServiceError unless `status` is 200; the text is the enclave's own."""
    if status == 200:
        return
    try:
        body = parse_object(data)
    except AnswerUnreadable:
        body = {}
    if body.get("type") == DATE_PROBLEM:
        raise ServiceError(
            status,
            "this machine's clock is too far from the enclave's",
            advice="set the clock and ask again",
        )
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    said, advice = _PROBLEMS.get(status, ("no reason given", ""))
    if isinstance(error, dict) and message:
        said, advice = message, _advice_on(error)
    raise ServiceError(status, str(said), advice=advice, **_words_of(error))


def _words_of(error: object) -> dict[str, str | None]:
    """Return the kind and the code that OpenAI's error object has, each only if it is text."""
    told = error if isinstance(error, dict) else {}
    kind, code = told.get("type"), told.get("code")
    return {
        "kind": kind if isinstance(kind, str) else None,
        "error_code": code if isinstance(code, str) else None,
    }


def _advice_on(error: Mapping[str, Any]) -> str:
    """Return what to do about OpenAI's error object, if its own text does not say."""
    if error.get("type") not in _PASSING or error.get("code") in _LASTING:
        return ""
    return "the way to the service works, and its model does not for now: ask again shortly"


class StreamedAnswer:
    """Builds the whole answer out of a stream's events, as they come."""

    def __init__(self) -> None:
        self._events = EventParser(MAX_EVENT_OCTETS)
        self._choices: dict[int, dict[str, Any]] = {}
        self._common: dict[str, Any] = {}
        self._done = False

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the chunks that `data` completes; raises ServiceError for an error event."""
        chunks = []
        for event in self._events_in(data):
            if event.data == DONE:
                self._done = True
            elif not self._done:
                chunks.append(self._take(parse_object(event.data)))
        return chunks

    def finish(self) -> dict[str, Any]:
        """Return the whole answer; raises AnswerTruncated if the stream did not end."""
        if not self._done:
            raise AnswerTruncated
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            message = choice.get("message", {})
            if "tool_calls" in message:
                message["tool_calls"] = [call for _, call in sorted(message["tool_calls"].items())]
        return {**self._common, "choices": choices}

    def _events_in(self, data: bytes) -> list[Event]:
        try:
            return self._events.feed(data)
        except EventTooLarge as error:
            raise AnswerUnreadable("an event is larger than any honest one") from error

    def _take(self, chunk: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._merged(chunk)
        except (TypeError, AttributeError, ValueError) as error:
            raise AnswerUnreadable("the stream is not a chat stream") from error

    def _merged(self, chunk: dict[str, Any]) -> dict[str, Any]:
        error = chunk.get("error")
        if error is not None:
            if not isinstance(error, dict):
                raise ServiceError(500, str(error))
            said, advice = str(error.get("message")), _advice_on(error)
            raise ServiceError(500, said, advice=advice, **_words_of(error))
        for choice in chunk.get("choices") or ():
            self._take_choice(choice)
        self._common |= {name: value for name, value in chunk.items() if name != "choices"}
        return chunk

    def _take_choice(self, choice: dict[str, Any]) -> None:
        index = int(choice.get("index", 0))
        whole = self._choices.setdefault(index, {"index": index})
        if choice.get("finish_reason") is not None:
            whole["finish_reason"] = choice["finish_reason"]
        if "text" in choice:
            whole["text"] = whole.get("text", "") + (choice["text"] or "")
            return
        message = whole.setdefault("message", {"role": "assistant", "content": None})
        _merge(message, choice.get("delta") or {})


def _merge(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        # Content, refusals, and whatever else comes in pieces: nothing that was said is lost.
        if isinstance(value, str) and name not in ("role", "tool_calls"):
            message[name] = (message.get(name) or "") + value
        elif name == STATE_MEMBER and value is not None:
            message[name] = value
    for fragment in delta.get("tool_calls") or ():
        # Some providers number their calls from 1, or leave gaps: the order is what counts.
        calls = message.setdefault("tool_calls", {})
        _merge_call(calls.setdefault(int(fragment.get("index", len(calls))), {}), fragment)


def _merge_call(call: dict[str, Any], fragment: Mapping[str, Any]) -> None:
    """Add a fragment: arguments grow, everything else is said once."""
    function = fragment.get("function") or {}
    for name in ("id", "type", STATE_MEMBER):
        if fragment.get(name) is not None:
            call[name] = fragment[name]
    if not function:
        return
    whole = call.setdefault("function", {"name": "", "arguments": ""})
    whole["name"] = function.get("name") or whole["name"]
    whole["arguments"] += function.get("arguments") or ""
