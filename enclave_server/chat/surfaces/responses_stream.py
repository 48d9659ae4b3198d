"""Streamed answers of the Responses API: events of items, each told whole at its end."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from enclave_server.chat.conversation import CallDelta, ChoiceDelta, PartState, State, Usage
from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces import responses_writing as writing
from enclave_server.chat.surfaces.responses_states import seal
from enclave_server.chat.surfaces.surface import Identity, Signature

Json = dict[str, Any]

# What an item takes besides its texts, and a token with the likely ones in its place, generously.
ITEM_OCTETS = 2048
TOKEN_OCTETS = 1024

TEXT, REFUSAL, THOUGHT = "output_text", "refusal", "reasoning_summary_text"


class _Item:
    """An item as far as it has come: of a message, of thoughts, or of a call."""

    __slots__ = ("index", "kind", "known", "name", "said", "tokens")

    def __init__(self, kind: str, name: str, index: int, known: Json | None = None) -> None:
        self.kind, self.name, self.index = kind, name, index
        self.known = known or {}  # of a call, its identifier and its function
        self.said = io.StringIO()
        self.tokens: list[Json] = []

    @property
    def place(self) -> Json:
        """What its events say of where they belong."""
        inner = {TEXT: "content_index", REFUSAL: "content_index", THOUGHT: "summary_index"}
        place: Json = {"item_id": self.name, "output_index": self.index}
        return place | ({inner[self.kind]: 0} if self.kind in inner else {})

    def part(self, text: str) -> Json:
        """Return its one part, with `text`."""
        if self.kind == TEXT:
            return writing.text_part(text, self.tokens)
        return writing.refusal_part(text) if self.kind == REFUSAL else writing.summary_part(text)

    def whole(self, status: str, text: str | None) -> Json:
        """Return it as it is, with its `text` if it is to be told."""
        if self.kind == THOUGHT:
            return writing.reasoning(self.name, text or "")
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
        self._done: dict[int, Json] = {}
        self._reason: str | None = None

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside its texts, about."""
        return self._kept

    def fit(self, parts: Sequence[ChoiceDelta]) -> None:
        """Change nothing: all that is said can be told here."""

    def write(self, parts: Sequence[ChoiceDelta]) -> bytes:
        """Return the events that `parts` make."""
        return b"".join([*self._begin(), *(event for part in parts for event in self._take(part))])

    def end_thought(self, state: State) -> bytes:
        """Return nothing: the state of the answer tells it."""
        return b""

    def keep(self, states: Sequence[PartState]) -> bytes:
        """Return the events of items that hold `states`."""
        events = [*self._begin(), *self._close()]
        for given in states:
            events += self._keep(given)
        return b"".join(events)

    def finish(self, usage: Usage | None, signature: Signature) -> bytes:
        """Return the events that end the answer."""
        events = [*self._begin()]
        if not self._done:
            events += self._turn_to(TEXT)  # an answer says something, be it nothing
        status = writing.status_of(self._reason)
        events += self._close(status)
        for _, item in sorted(self._calls.items()):
            events += self._end(item, status)
        output = [item for _, item in sorted(self._done.items())]
        response = writing.ended(self._identity, self._reason, output, usage, **signature)
        events.append(self._event(f"response.{response['status']}", response=response))
        return b"".join(events)

    def fail(self, error: ChatError) -> bytes:
        """Return the event that ends a failed answer."""
        told = {"code": error.code or "server_error", "message": error.message}
        output = [item for _, item in sorted(self._done.items())]
        response = writing.response_object(self._identity, writing.FAILED, output, error=told)
        return self._event("response.failed", response=response)

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

    def _take(self, part: ChoiceDelta) -> Iterator[bytes]:
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

    def _say(self, kind: str, text: str, tokens: Sequence[Json] = ()) -> Iterator[bytes]:
        yield from self._turn_to(kind)
        if (item := self._open) is None:
            return
        item.said.write(text)
        item.tokens += tokens
        self._kept += TOKEN_OCTETS * len(tokens)
        more = {"logprobs": tokens} if kind == TEXT else {}
        yield self._event(f"response.{kind}.delta", **item.place, delta=text, **more)

    def _turn_to(self, kind: str) -> Iterator[bytes]:
        """Begin an item unless one of that kind is open."""
        if self._open is not None and self._open.kind == kind:
            return
        yield from self._close()
        item = self._open = self._add(kind)
        yield from self._tell_begin(item)
        word = "reasoning_summary_part" if kind == THOUGHT else "content_part"
        yield self._event(f"response.{word}.added", **item.place, part=item.part(""))

    def _call(self, fragment: CallDelta) -> Iterator[bytes]:
        item = self._calls.get(fragment.index)
        if item is None:
            yield from self._close()
            known = {"identifier": fragment.id, "function": fragment.function.name}
            item = self._calls[fragment.index] = self._add("function_call", known)
            yield from self._tell_begin(item)
        if arguments := fragment.function.arguments:
            item.said.write(arguments)
            word = "response.function_call_arguments.delta"
            yield self._event(word, **item.place, delta=arguments)

    def _keep(self, given: PartState) -> Iterator[bytes]:
        item = self._add(THOUGHT)
        yield from self._tell_begin(item)
        sealed = seal(given, self._identity.origin)
        self._kept += len(sealed)
        yield self._tell_end(item, writing.reasoning(item.name, "", sealed))

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
        self._done[item.index] = whole
        return self._event("response.output_item.done", output_index=item.index, item=whole)

    def _close(self, status: str = writing.COMPLETED) -> Iterator[bytes]:
        item, self._open = self._open, None
        if item is not None:
            yield from self._end(item, status)

    def _end(self, item: _Item, status: str) -> Iterator[bytes]:
        text = item.said.getvalue()
        whole = item.whole(status, text)
        if item.kind == "function_call":
            done = {name: whole[name] for name in ("name", "arguments")}
            yield self._event("response.function_call_arguments.done", **item.place, **done)
        else:
            yield from self._end_part(item, text)
        yield self._tell_end(item, whole)

    def _end_part(self, item: _Item, text: str) -> Iterator[bytes]:
        member = "refusal" if item.kind == REFUSAL else "text"
        more = {"logprobs": item.tokens} if item.kind == TEXT else {}
        yield self._event(f"response.{item.kind}.done", **item.place, **{member: text}, **more)
        word = "reasoning_summary_part" if item.kind == THOUGHT else "content_part"
        yield self._event(f"response.{word}.done", **item.place, part=item.part(text))
