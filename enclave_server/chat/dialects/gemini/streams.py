"""Streamed answers of streamGenerateContent: each event is a whole response with what is new.

Nothing marks the end but that every candidate tells why it ended.
"""

from collections.abc import Iterator

import msgspec

from enclave_server.chat.conversation import (
    CallDelta,
    ChoiceDelta,
    Delta,
    Event,
    FunctionDelta,
    PartState,
)
from enclave_server.chat.dialects.gemini.answers import call_of, decode
from enclave_server.chat.dialects.gemini.partial_calls import Folder
from enclave_server.chat.dialects.gemini.shapes import (
    Candidate,
    Part,
    Response,
    finish_reason,
    logprobs_of,
    usage_of,
)
from enclave_server.chat.dialects.gemini.signatures import keep
from enclave_server.chat.dialects.handing import NO_LIMIT, pack, restore, save, unpack
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.event_stream import DONE, EventParser, EventTooLarge

# More than anybody is asked for, and what each takes besides its texts.
MAX_CANDIDATES = 128
CANDIDATE_OCTETS = 1024


class _Said:
    """What one event says of a candidate: there may be as many parts as it has room for."""

    __slots__ = ("calls", "thoughts", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[CallDelta] = []

    def delta(self) -> Delta:
        """Return it as one."""
        return Delta(
            content="".join(self.words) or None,
            reasoning_content="".join(self.thoughts) or None,
            tool_calls=self.calls or None,
        )


class Progress(msgspec.Struct):
    """A candidate as far as it has come; the `signature` is of its text."""

    index: int
    calls: int = 0
    folder: Folder = msgspec.field(default_factory=Folder)
    signature: str | None = None
    ended: bool = False

    @property
    def kept(self) -> int:
        """The octets that it keeps, about."""
        return CANDIDATE_OCTETS + len(self.signature or "") + self.folder.kept

    def take(self, candidate: Candidate) -> Iterator[Event]:
        """Yield what `candidate` adds; raises UpstreamError if it failed."""
        said = _Said()
        states: list[PartState] = []
        for part in self._whole(candidate):
            self._add(part, said, states)
        delta = said.delta()
        logprobs = logprobs_of(candidate.logprobs_result)
        if delta != Delta() or states or logprobs:
            yield Event([ChoiceDelta(self.index, delta, logprobs)], states=tuple(states))
        if candidate.finish_reason and not self.ended:
            reason = finish_reason(candidate.finish_reason, calls=self.calls > 0)
            yield from self._end(reason)

    def _whole(self, candidate: Candidate) -> Iterator[Part]:
        for part in candidate.parts:
            yield from self.folder.take(part)
        if candidate.finish_reason:
            yield from self.folder.end()

    def _add(self, part: Part, said: _Said, states: list[PartState]) -> None:
        if part.function_call is not None:
            call = call_of(part.function_call)
            function = FunctionDelta(call.function.name, call.function.arguments)
            fragment = CallDelta(self.calls, call.id, call.type, function)
            said.calls.append(fragment)
            if part.thought_signature:
                states.append(PartState(self.index, keep(part.thought_signature), self.calls))
            self.calls += 1
            return
        self.signature = part.thought_signature or self.signature
        if part.text and part.thought:
            said.thoughts.append(part.text)
        elif part.text:
            said.words.append(part.text)

    def _end(self, reason: str) -> Iterator[Event]:
        self.ended = True
        if self.signature is not None:
            yield Event(states=(PartState(self.index, keep(self.signature)),))
        yield Event([ChoiceDelta(self.index, finish_reason=reason)])


class Candidates(msgspec.Struct):
    """What is known of an answer as far as it has come."""

    known: dict[int, Progress]


class EventReader:
    """Reads the server-sent events of a streamed answer."""

    __slots__ = ("_candidates", "_parser", "largest")

    def __init__(self) -> None:
        self.largest = NO_LIMIT
        self._parser = EventParser()
        self._candidates: dict[int, Progress] = {}

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside what it has given, about."""
        return self._parser.kept + sum(each.kept for each in self._candidates.values())

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that `piece` completes; raises UpstreamError."""
        try:
            events = self._parser.feed(piece)
        except EventTooLarge:
            raise UpstreamError(Failure.BROKEN) from None
        for event in events:
            if len(event.data) > self.largest:
                yield Event(large=pack(event))
            elif event.data != DONE:  # of those who forward it
                yield from self._read(event.data)

    def read(self, octets: bytes) -> Iterator[Event]:
        """Yield what a large event says; raises UpstreamError."""
        yield from self._read(unpack(octets).data)

    def save(self) -> bytes:
        """Return the state; raises UpstreamError."""
        return save(Candidates(self._candidates))

    def restore(self, state: bytes) -> None:
        """Go on from a state that was saved."""
        self._candidates = restore(state, Candidates).known

    def _read(self, data: str) -> Iterator[Event]:
        for response in decode(data):
            yield from self._take(response)

    def _take(self, response: Response) -> Iterator[Event]:
        if (usage := usage_of(response.usage_metadata)) is not None:
            yield Event(usage=usage)
        if response.is_blocked:
            yield Event([ChoiceDelta(0, finish_reason="content_filter")], ends=True)
        for candidate in response.candidates or ():
            index = candidate.index or 0
            if (progress := self._candidates.get(index)) is None:
                if len(self._candidates) == MAX_CANDIDATES:
                    raise UpstreamError(Failure.BROKEN)
                progress = self._candidates[index] = Progress(index)
            yield from progress.take(candidate)
