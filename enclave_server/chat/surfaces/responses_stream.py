"""Streamed answers of the Responses API: events of items, each told whole at its end."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from enclave_server.chat.conversation import CallDelta, ChoiceDelta, PartState, State, Usage
from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces import responses_writing as writing
from enclave_server.chat.surfaces.responses_states import seal
from enclave_server.chat.surfaces.surface import Identity, Signature, Step

Json = dict[str, Any]

NOTHING, NO_TOKENS = Raw(b'""'), Raw(b"[]")

# What an item takes besides its texts, generously.
ITEM_OCTETS = 2048

# The text of an item that ends is copied in turns above this.
LONG = 64 * 1024

TEXT, REFUSAL, THOUGHT = "output_text", "refusal", "reasoning_summary_text"


class _Item:
    """An item as far as it has come: of a message, of thoughts, or of a call.

    Its text and its tokens are kept as they stand in JSON, between quotes and brackets: they are
    encoded once, and at its end copied.
    """

    __slots__ = ("index", "kind", "known", "name", "said", "status", "tokens")

    def __init__(self, kind: str, name: str, index: int, known: Json | None = None) -> None:
        self.kind, self.name, self.index = kind, name, index
        self.known = known or {}  # of a call, its identifier and its function
        self.said = bytearray()
        self.tokens = bytearray()
        self.status = writing.IN_PROGRESS

    def add(self, text: Raw, tokens: Raw) -> int:
        """Add a text and a list of tokens as they stand in JSON; return what they take."""
        self.said += bytes(text)[1:-1]
        if more := bytes(tokens)[1:-1]:
            self.tokens += b"," + more if self.tokens else more
        return len(more)

    @property
    def text(self) -> Raw:
        """All that it says, as it stands in JSON."""
        return Raw(b"".join((b'"', self.said, b'"')))

    @property
    def likely(self) -> Raw:
        """The list of its tokens, as it stands in JSON."""
        return Raw(b"".join((b"[", self.tokens, b"]")))

    @property
    def place(self) -> Json:
        """What its events say of where they belong."""
        inner = {TEXT: "content_index", REFUSAL: "content_index", THOUGHT: "summary_index"}
        place: Json = {"item_id": self.name, "output_index": self.index}
        return place | ({inner[self.kind]: 0} if self.kind in inner else {})

    def part(self, text: Raw) -> Json:
        """Return its one part, with `text`."""
        if self.kind == TEXT:
            return writing.text_part(text, self.likely)
        return writing.refusal_part(text) if self.kind == REFUSAL else writing.summary_part(text)

    def whole(self, status: str, text: Raw | None) -> Json:
        """Return it as it is, with its `text` if it is to be told."""
        if self.kind == THOUGHT:
            return writing.reasoning(self.name, (text or "") if self.said else "")
        if self.kind in (TEXT, REFUSAL):
            return writing.said(self.name, [] if text is None else [self.part(text)], status)
        return writing.call(self.name, arguments=text or "", status=status, **self.known)


class ResponsesStream:
    """Writes server-sent events; the one that ends the answer holds it whole, and is signed.

    Items follow one another, but for calls, whose fragments may come in turns: they end last.
    """

    __slots__ = (
        "_begun",
        "_calls",
        "_done",
        "_identity",
        "_kept",
        "_names",
        "_number",
        "_open",
        "_reason",
    )

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._names = writing.Names(identity)
        self._number = 0
        self._kept = 0
        self._begun = False
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._done: dict[int, _Item | Json] = {}  # whole, or as it was said when it ended
        self._reason: str | None = None

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside its texts, about."""
        return self._kept

    def fit(self, parts: Sequence[ChoiceDelta]) -> None:
        """Change nothing: all that is said can be told here."""

    def events(self, parts: Sequence[ChoiceDelta]) -> Iterator[Step]:
        """Yield the events that `parts` make."""
        yield from self._begin()
        for part in parts:
            yield from self._take(part)

    def write(self, parts: Sequence[ChoiceDelta]) -> bytes:
        """Return the events that `parts` make."""
        return _joined(self.events(parts))

    def end_thought(self, state: State) -> bytes:
        """Return nothing: the state of the answer tells it."""
        return b""

    def keep(self, states: Sequence[PartState]) -> bytes:
        """Return the events of items that hold `states`."""
        events: list[Step] = [*self._begin(), *self._close()]
        for given in states:
            events += self._keep(given)
        return _joined(events)

    def finish(self, usage: Usage | None, signature: Signature) -> bytes:
        """Return the events that end the answer."""
        return _joined(self.conclusion(usage, signature))

    def conclusion(self, usage: Usage | None, signature: Signature) -> Iterator[Step]:
        """Yield the events that end the answer."""
        yield from self._begin()
        if not self._done:
            yield from self._turn_to(TEXT)  # an answer says something, be it nothing
        status = writing.status_of(self._reason)
        yield from self._close(status)
        for _, item in sorted(self._calls.items()):
            yield from self._end(item, status)
        output = self._output()
        response = writing.ended(self._identity, self._reason, output, usage, **signature)
        yield self._event(f"response.{response['status']}", response=response)

    def fail(self, error: ChatError) -> bytes:
        """Return the event that ends a failed answer."""
        told = {"code": error.code or "server_error", "message": error.message}
        if error.token is not None:
            told["token"] = error.token
        output = self._output()
        response = writing.response_object(self._identity, writing.FAILED, output, error=told)
        return self._event("response.failed", response=response)

    def _output(self) -> list[Json]:
        """Return the items as they are; one that has not ended is empty."""
        return [
            each.whole(each.status, each.text) if isinstance(each, _Item) else each
            for _, each in sorted(self._done.items())
        ]

    def _event(self, type_: str, **members: Any) -> bytes:
        data = {"type": type_, "sequence_number": self._number, **members}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (type_.encode(), msgspec.json.encode(data))

    def _begin(self) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            response = writing.response_object(self._identity, writing.IN_PROGRESS, [])
            for word in ("created", "in_progress"):
                yield self._event(f"response.{word}", response=response)

    def _take(self, part: ChoiceDelta) -> Iterator[Step]:
        delta = part.delta
        if delta.reasoning_content:
            yield from self._say(THOUGHT, delta.reasoning_content)
        if delta.content:
            yield from self._say(TEXT, delta.content, writing.tokens_of(part.logprobs))
        if delta.refusal:
            yield from self._say(REFUSAL, delta.refusal)
        for call in delta.tool_calls or ():
            yield from self._call(call)
        self._reason = part.finish_reason or self._reason

    def _say(self, kind: str, text: str, tokens: Sequence[Json] = ()) -> Iterator[Step]:
        yield from self._turn_to(kind)
        if (item := self._open) is None:
            return
        written, likely = _raw(text), _raw(tokens)
        self._kept += item.add(written, likely) + len(bytes(written)) - len(text)
        more = {"logprobs": likely} if kind == TEXT else {}
        yield self._event(f"response.{kind}.delta", **item.place, delta=written, **more)

    def _turn_to(self, kind: str) -> Iterator[Step]:
        """Begin an item unless one of that kind is open."""
        if self._open is not None and self._open.kind == kind:
            return
        yield from self._close()
        item = self._open = self._add(kind)
        yield from self._tell_begin(item)
        word = "reasoning_summary_part" if kind == THOUGHT else "content_part"
        yield self._event(f"response.{word}.added", **item.place, part=item.part(NOTHING))

    def _call(self, fragment: CallDelta) -> Iterator[Step]:
        item = self._calls.get(fragment.index)
        if item is None:
            yield from self._close()
            known = {"identifier": fragment.id, "function": fragment.function.name}
            item = self._calls[fragment.index] = self._add("function_call", known)
            yield from self._tell_begin(item)
        if arguments := fragment.function.arguments:
            written = _raw(arguments)
            self._kept += item.add(written, NO_TOKENS) + len(bytes(written)) - len(arguments)
            word = "response.function_call_arguments.delta"
            yield self._event(word, **item.place, delta=written)

    def _keep(self, given: PartState) -> Iterator[bytes]:
        item = self._add(THOUGHT)
        yield from self._tell_begin(item)
        sealed = seal(given, self._identity.origin)
        self._kept += len(sealed)
        self._done[item.index] = whole = writing.reasoning(item.name, "", sealed)
        yield self._tell_end(item, whole)

    def _add(self, kind: str, known: Json | None = None) -> _Item:
        prefix = {THOUGHT: "rs", "function_call": "fc"}.get(kind, "msg")
        item = _Item(kind, self._names.next(prefix), len(self._done), known)
        self._done[item.index] = {}
        self._kept += ITEM_OCTETS
        return item

    def _tell_begin(self, item: _Item) -> Iterator[bytes]:
        begun = item.whole(writing.IN_PROGRESS, None)
        yield self._event("response.output_item.added", output_index=item.index, item=begun)

    def _tell_end(self, item: _Item, whole: Json) -> bytes:
        return self._event("response.output_item.done", output_index=item.index, item=whole)

    def _close(self, status: str = writing.COMPLETED) -> Iterator[Step]:
        item, self._open = self._open, None
        if item is not None:
            yield from self._end(item, status)

    def _end(self, item: _Item, status: str) -> Iterator[Step]:
        text, item.status = item.text, status
        if len(item.said) > LONG:
            yield None  # each of the events is a copy
        whole = item.whole(status, text)
        self._done[item.index] = item
        if item.kind == "function_call":
            done = {name: whole[name] for name in ("name", "arguments")}
            yield self._event("response.function_call_arguments.done", **item.place, **done)
        else:
            yield from self._end_part(item, text)
        yield self._tell_end(item, whole)

    def _end_part(self, item: _Item, text: Raw) -> Iterator[bytes]:
        member = "refusal" if item.kind == REFUSAL else "text"
        more = {"logprobs": item.likely} if item.kind == TEXT else {}
        yield self._event(f"response.{item.kind}.done", **item.place, **{member: text}, **more)
        word = "reasoning_summary_part" if item.kind == THOUGHT else "content_part"
        yield self._event(f"response.{word}.done", **item.place, part=item.part(text))


def _joined(steps: Iterable[Step]) -> bytes:
    return b"".join(step for step in steps if step)


def _raw(value: object) -> Raw:
    """Return `value` as it stands in JSON."""
    return Raw(msgspec.json.encode(value))
