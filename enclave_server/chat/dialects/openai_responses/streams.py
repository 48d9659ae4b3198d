"""Streamed answers of the Responses API: events that tell their type in their data.

What has come is told at once. What some servers leave out is taken from the items as they are done,
and from the whole response at the end.
"""

from collections.abc import Callable, Iterator

import msgspec

from enclave_server.chat.conversation import (
    CallDelta,
    ChoiceDelta,
    Delta,
    Event,
    FunctionDelta,
    PartState,
)
from enclave_server.chat.dialects.handing import NO_LIMIT, pack, restore, save, unpack
from enclave_server.chat.dialects.openai_responses.answers import (
    BETWEEN_PARAGRAPHS,
    entry_of,
    finish_reason,
    reply_of,
    thought_in,
)
from enclave_server.chat.dialects.openai_responses.faults import fault_in_stream
from enclave_server.chat.dialects.openai_responses.keepsakes import (
    MAX_ENTRIES,
    MAX_OCTETS,
    Entry,
    keep,
    octets_of,
)
from enclave_server.chat.dialects.openai_responses.shapes import (
    NO_ERROR,
    Item,
    Response,
    Token,
    is_error,
    logprobs_of,
    usage_of,
)
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.event_stream import DONE, EventParser, EventTooLarge


class Chunk(msgspec.Struct):
    """What is read of an event."""

    type: str = ""
    output_index: int | None = None
    delta: str | None = None
    arguments: str | None = None
    item: Item | None = None
    logprobs: list[Token] | None = None
    summary_index: int | None = None
    response: Response | None = None
    error: msgspec.Raw = NO_ERROR


class Kind(msgspec.Struct):
    """The type of an event of which nothing else is known."""

    type: str = ""


class Place(msgspec.Struct):
    """What has come of one item: the number of its call, and how much of what.

    `arguments` are characters, `thought` is in which events it was told.
    """

    call: int | None = None
    arguments: int = 0
    said: bool = False
    thought: str = ""


class Progress(msgspec.Struct):
    """What is known of an answer as far as it has come; `kept` are the octets of `entries`."""

    places: dict[int, Place] = {}
    entries: dict[int, Entry] = {}
    kept: int = 0
    calls: int = 0
    thinking: bool = False


_DECODER = msgspec.json.Decoder(Chunk)
_KINDS = msgspec.json.Decoder(Kind)


class EventReader:
    """Reads the server-sent events of a streamed answer."""

    __slots__ = ("_parser", "_progress", "largest")

    def __init__(self) -> None:
        self.largest = NO_LIMIT
        self._parser = EventParser()
        self._progress = Progress()

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside what it has given, about."""
        return self._parser.kept + self._progress.kept

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that `piece` completes; raises UpstreamError."""
        try:
            events = self._parser.feed(piece)
        except EventTooLarge:
            raise UpstreamError(Failure.BROKEN) from None
        for event in events:
            if len(event.data) > self.largest:
                yield Event(large=pack(event))
            elif event.data != DONE:
                yield from self._read(event.data)

    def read(self, octets: bytes) -> Iterator[Event]:
        """Yield what a large event says; raises UpstreamError."""
        yield from self._read(unpack(octets).data)

    def save(self) -> bytes:
        """Return the state; raises UpstreamError."""
        return save(self._progress)

    def restore(self, state: bytes) -> None:
        """Go on from a state that was saved."""
        self._progress = restore(state, Progress)

    def _read(self, data: str) -> Iterator[Event]:
        chunk = _decode(data)
        if chunk.type == "error" or (is_error(chunk.error) and chunk.response is None):
            raise fault_in_stream(data.encode())
        handle = _HANDLERS.get(chunk.type)
        if handle is not None:
            yield from handle(self, chunk)

    def _place(self, chunk: Chunk) -> Place:
        index = chunk.output_index or 0
        if (place := self._progress.places.get(index)) is None:
            if len(self._progress.places) == MAX_ENTRIES:
                raise UpstreamError(Failure.BROKEN)
            place = self._progress.places[index] = Place()
        return place

    def _add_item(self, chunk: Chunk) -> Iterator[Event]:
        item = chunk.item
        if item is not None and item.type == "function_call":
            yield self._begin_call(self._place(chunk), item)

    def _begin_call(self, place: Place, item: Item) -> Event:
        if place.call is not None or not item.name:
            raise UpstreamError(Failure.BROKEN)
        place.call, self._progress.calls = self._progress.calls, self._progress.calls + 1
        arguments = item.arguments or ""
        place.arguments = len(arguments)
        function = FunctionDelta(item.name, arguments)
        return _call(CallDelta(place.call, item.call_id or item.id, "function", function))

    def _add_text(self, chunk: Chunk) -> Iterator[Event]:
        if chunk.delta:
            self._place(chunk).said = True
            yield _event(Delta(content=chunk.delta), chunk.logprobs)

    def _add_refusal(self, chunk: Chunk) -> Iterator[Event]:
        if chunk.delta:
            self._place(chunk).said = True
            yield _event(Delta(refusal=chunk.delta))

    def _add_thought(self, chunk: Chunk) -> Iterator[Event]:
        """Tell what is thought; where it is also retold, only what came first."""
        place = self._place(chunk)
        if chunk.delta and place.thought in ("", chunk.type):
            begins = not place.thought
            place.thought = chunk.type
            yield self._think(chunk.delta, begins)

    def _add_paragraph(self, chunk: Chunk) -> Iterator[Event]:
        if chunk.summary_index and self._place(chunk).thought == _SUMMARY:
            yield _event(Delta(reasoning_content=BETWEEN_PARAGRAPHS))

    def _think(self, text: str, begins: bool) -> Event:
        if begins and self._progress.thinking:
            text = BETWEEN_PARAGRAPHS + text
        self._progress.thinking = True
        return _event(Delta(reasoning_content=text))

    def _add_arguments(self, chunk: Chunk) -> Iterator[Event]:
        place = self._place(chunk)
        if place.call is None:
            raise UpstreamError(Failure.BROKEN)
        if chunk.delta:
            place.arguments += len(chunk.delta)
            yield _call(CallDelta(place.call, function=FunctionDelta(arguments=chunk.delta)))

    def _end_arguments(self, chunk: Chunk) -> Iterator[Event]:
        place = self._place(chunk)
        if place.call is None:
            raise UpstreamError(Failure.BROKEN)
        if not place.arguments and chunk.arguments:
            place.arguments = len(chunk.arguments)
            yield _call(CallDelta(place.call, function=FunctionDelta(arguments=chunk.arguments)))

    def _end_item(self, chunk: Chunk) -> Iterator[Event]:
        item, place = chunk.item, self._place(chunk)
        if item is None:
            return
        if (entry := entry_of(item)) is not None:
            self._keep(entry, chunk.output_index or 0)
        match item.type:
            case "function_call":
                yield from self._end_call(place, item)
            case "message" if not place.said:
                place.said = True
                yield from _told(item)
            case "reasoning" if not place.thought and (text := thought_in(item)):
                place.thought = _SUMMARY
                yield self._think(text, begins=True)

    def _keep(self, entry: Entry, index: int) -> None:
        self._progress.kept += octets_of(entry)
        if self._progress.kept > MAX_OCTETS:
            raise UpstreamError(Failure.BROKEN)
        self._progress.entries[index] = entry

    def _end_call(self, place: Place, item: Item) -> Iterator[Event]:
        if place.call is None:
            yield self._begin_call(place, item)
        if not place.arguments:
            place.arguments = len(arguments := item.arguments or "{}")
            yield _call(CallDelta(place.call or 0, function=FunctionDelta(arguments=arguments)))

    def _end(self, chunk: Chunk) -> Iterator[Event]:
        response = chunk.response
        if response is None:
            raise UpstreamError(Failure.BROKEN)
        reason = finish_reason(response, calls=False)
        if not self._progress.places:
            yield from self._tell_whole(response)
        if (
            state := keep([entry for _, entry in sorted(self._progress.entries.items())])
        ) is not None:
            yield Event(states=(PartState(0, state),))
        if self._progress.calls and reason == "stop":
            reason = "tool_calls"
        yield Event([ChoiceDelta(0, finish_reason=reason)], usage_of(response.usage), ends=True)

    def _tell_whole(self, response: Response) -> Iterator[Event]:
        """Tell what came in no other event."""
        for index, item in enumerate(response.output or ()):
            yield from self._end_item(Chunk(output_index=index, item=item))


def _decode(data: str) -> Chunk:
    try:
        return _DECODER.decode(data)
    except msgspec.ValidationError:
        return _decode_unknown(data)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None


def _decode_unknown(data: str) -> Chunk:
    """Return the type of an event of another shape; raises UpstreamError if it should be known."""
    try:
        kind = _KINDS.decode(data).type
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None
    if kind == "error" or kind in _HANDLERS:
        raise fault_in_stream(data.encode())
    return Chunk(kind)


def _event(delta: Delta, tokens: list[Token] | None = None) -> Event:
    return Event([ChoiceDelta(0, delta, logprobs_of(tokens))])


def _call(part: CallDelta) -> Event:
    return _event(Delta(tool_calls=[part]))


def _told(item: Item) -> Iterator[Event]:
    reply = reply_of([item])
    if reply.content or reply.refusal:
        tokens = [token for part in item.parts for token in part.logprobs or ()]
        yield _event(Delta(content=reply.content or None, refusal=reply.refusal), tokens)


_SUMMARY = "response.reasoning_summary_text.delta"

_HANDLERS: dict[str, Callable[[EventReader, Chunk], Iterator[Event]]] = {
    "response.output_item.added": EventReader._add_item,
    "response.output_item.done": EventReader._end_item,
    "response.output_text.delta": EventReader._add_text,
    "response.refusal.delta": EventReader._add_refusal,
    "response.reasoning_text.delta": EventReader._add_thought,
    _SUMMARY: EventReader._add_thought,
    "response.reasoning_summary_part.added": EventReader._add_paragraph,
    "response.function_call_arguments.delta": EventReader._add_arguments,
    "response.function_call_arguments.done": EventReader._end_arguments,
    "response.completed": EventReader._end,
    "response.incomplete": EventReader._end,
    "response.failed": EventReader._end,
}
