"""A streamed answer as far as it has come: its choices, their size, and whether it is complete."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from enclave_server.chat.conversation import CallDelta, ChoiceDelta, Delta, Event, Usage
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.spoken import Spoken, SpokenCall
from enclave_server.memory import Holding

# Octets of its texts. An answer of the longest context is well below.
MAX_ANSWER_BYTES = 16 * 1024 * 1024

# So much more is taken of the memory at a time.
STEP_OCTETS = 16 * 1024

# How often an answer is there at its end: as it is kept, as it goes to whoever signs it, as a
# surface tells it again, as that is sent.
COPIES = 4

# What a tool call and each of its fragments take besides their characters, somewhat generously.
CALL_OCTETS = 512
FRAGMENT_OCTETS = 64


@dataclass(slots=True)
class _Call:
    """A tool call as far as it has come."""

    id: str
    name: str
    arguments: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Choice:
    """A choice as far as it has come."""

    index: int
    text: bytearray = field(default_factory=bytearray)
    reasoning: bytearray = field(default_factory=bytearray)
    refusal: bytearray = field(default_factory=bytearray)
    calls: dict[int, _Call] = field(default_factory=dict)
    finish_reason: str | None = None
    is_told: bool = False

    def add_text(self, text: str) -> int:
        """Append `text`; return its size in octets."""
        return _append(self.text, text)

    def add_reasoning(self, text: str) -> int:
        """Append `text` to what it thought; return its size in octets."""
        return _append(self.reasoning, text)

    def add_refusal(self, text: str) -> int:
        """Append `text` to what it says in refusing; return its size in octets."""
        return _append(self.refusal, text)

    def add_call(self, part: CallDelta) -> int:
        """Append a fragment, put it into its plainest form, and return what it takes in octets."""
        arguments = part.function.arguments or ""
        known = self.calls.get(part.index)
        taken = CALL_OCTETS if known is None else FRAGMENT_OCTETS
        if known is None:
            known = _Call(part.id or "", part.function.name or "")
            self.calls[part.index] = known
            part.id, part.type, part.function.name = known.id, "function", known.name
            part.function.arguments = arguments
        else:
            # Programs join the fragments of each member: what was sent must not come again.
            part.id = part.type = None
            if known.name or not part.function.name:
                part.function.name = None
            else:
                known.name = part.function.name
        taken += _append(known.arguments, arguments)
        return taken + len(known.name) + len(known.id)

    def tell(self, part: ChoiceDelta) -> bool:
        """Return whether `part` says something; the first that does says whose words they are.

        Programs want that said, and join what is said again.
        """
        says = part.finish_reason is not None or part.logprobs is not None or _says(part.delta)
        if says and not self.is_told:
            part.delta.role, self.is_told = "assistant", True
        return says

    def spoken(self) -> Spoken:
        """Return it as it has been kept, without a copy."""
        calls = [
            SpokenCall(call.id, call.name, call.arguments) for _, call in sorted(self.calls.items())
        ]
        return Spoken(
            self.index, self.text, self.reasoning, self.refusal, calls, self.finish_reason
        )


def _append(kept: bytearray, text: str) -> int:
    octets = text.encode()
    kept += octets
    return len(octets)


class Transcript:
    """Takes the events of an answer of `expected` choices, and says what of them to pass on.

    What it keeps is taken of `holding`, which whoever has it gives back. Reasoning is passed on
    only if it `gives_reasoning`.
    """

    __slots__ = (
        "_allowed",
        "_beside",
        "_choices",
        "_expected",
        "_gives_reasoning",
        "_holding",
        "_size",
        "_was_cut",
        "ended",
        "usage",
    )

    def __init__(self, expected: int, holding: Holding, *, gives_reasoning: bool = True) -> None:
        self._expected = expected
        self._gives_reasoning = gives_reasoning
        self._holding = holding
        self._allowed = 0  # octets for which memory has been taken
        self._choices: dict[int, _Choice] = {}
        self._size = 0
        self._beside = 0  # octets, the most that others kept
        self.usage: Usage | None = None
        self.ended = self._was_cut = False

    def take(self, event: Event) -> list[ChoiceDelta]:
        """Add `event`; return what is left to pass on. Raises UpstreamError.

        Nothing comes after an event that ends the answer.
        """
        self.ended = event.ends
        self.usage = event.usage or self.usage
        return [part for part in event.choices if self._take(part)]

    def cut(self) -> None:
        """End all choices here, as by their limit: nothing more is wanted of them."""
        self.ended = self._was_cut = True

    def finish(self) -> list[ChoiceDelta]:
        """Return the ends that the upstream left out; UpstreamError if it is not complete.

        Whether its calls can be read is for `require_readable` to say.
        """
        unfinished = [choice for choice in self._choices.values() if choice.finish_reason is None]
        complete = self.ended or (len(self._choices) >= self._expected and not unfinished)
        if not complete or not self._choices:
            raise UpstreamError(Failure.BROKEN)
        for choice in unfinished:
            otherwise = "tool_calls" if choice.calls else "stop"
            choice.finish_reason = "length" if self._was_cut else otherwise
        return [
            ChoiceDelta(choice.index, finish_reason=choice.finish_reason) for choice in unfinished
        ]

    @property
    def size(self) -> int:
        """The octets of its texts and of the arguments of its calls."""
        return sum(map(len, self._texts()))

    def _texts(self) -> Iterator[bytearray]:
        for choice in self._choices.values():
            yield from (choice.text, choice.reasoning, choice.refusal)
            yield from (call.arguments for call in choice.calls.values())

    def spoken(self) -> list[Spoken]:
        """Return each choice as it has been kept, in the order of their index."""
        return [choice.spoken() for _, choice in sorted(self._choices.items())]

    def outputs(self) -> Sequence[dict[str, Any]]:
        """Return what `protocol.signature` signs of each choice, in the order of their index."""
        return [choice.output() for choice in self.spoken()]

    def count(self, octets: int) -> None:
        """Count what somebody else keeps of the answer; raises UpstreamError."""
        self._size += octets // COPIES
        if self._size > self._allowed:
            self._take_memory()

    def count_beside(self, octets: int) -> None:
        """Count what others keep of the answer at the moment, in all; raises UpstreamError."""
        if octets > self._beside:
            grown, self._beside = octets - self._beside, octets
            self.count(grown + COPIES - 1)

    def _take_memory(self) -> None:
        """Take memory for what has come and some more; raises UpstreamError."""
        if self._size > MAX_ANSWER_BYTES:
            raise UpstreamError(Failure.BROKEN)
        self._allowed = min(self._size + STEP_OCTETS, MAX_ANSWER_BYTES)
        if not self._holding.takes(COPIES * self._allowed):
            raise UpstreamError(Failure.BUSY)

    def _take(self, part: ChoiceDelta) -> bool:
        """Add `part` to its choice; return whether something of it is to be passed on."""
        choice = self._choices.get(part.index)
        if choice is None:
            if part.index not in range(self._expected):  # each is kept, however short
                raise UpstreamError(Failure.BROKEN)
            choice = self._choices[part.index] = _Choice(part.index)
        delta = part.delta
        if choice.is_told:
            delta.role = None
        if delta.content:
            self._size += choice.add_text(delta.content)
        if delta.reasoning_content or delta.refusal or delta.tool_calls:
            self._add_rest(choice, delta)
        if self._size > self._allowed:
            self._take_memory()
        if part.finish_reason is not None:
            choice.finish_reason = part.finish_reason
        return choice.tell(part)

    def _add_rest(self, choice: _Choice, delta: Delta) -> None:
        """Add what is no text."""
        if delta.reasoning_content:
            if self._gives_reasoning:
                self._size += choice.add_reasoning(delta.reasoning_content)
            else:
                delta.reasoning_content = None
        if delta.refusal:
            self._size += choice.add_refusal(delta.refusal)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._size += choice.add_call(call)


def _says(delta: Delta) -> bool:
    return not (
        delta.content is None
        and delta.role is None
        and delta.reasoning_content is None
        and delta.tool_calls is None
        and delta.refusal is None
    )
