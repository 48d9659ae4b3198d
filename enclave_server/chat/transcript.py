"""A streamed answer as far as it has come: its choices, their size, and whether it is complete."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from enclave_server.chat.conversation import CallDelta, ChoiceDelta, Delta, Event, Usage
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.memory import Holding

# An answer of the longest context, with logprobs, is well below.
MAX_ANSWER_BYTES = 16 * 1024 * 1024

# So much more is taken of the memory at a time, and of each character the octets that it may take.
STEP_CHARACTERS = 16 * 1024
CHARACTER_OCTETS = 4

# Words that are kept one by one before they become one text: each costs some fifty octets more.
LOOSE_WORDS = 256

# What a tool call and each of its fragments take besides their characters, somewhat generously.
CALL_OCTETS = 512
FRAGMENT_OCTETS = 64


# The ends of an answer that may stop amid a call.
CUT_OFF = frozenset({"length", "content_filter"})


def is_readable(name: str, arguments: str) -> bool:
    """Whether a program can read a call: it has a name, and arguments in JSON or none at all."""
    if not name:
        return False
    if not arguments.strip():
        return True
    try:
        msgspec.json.decode(arguments, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


@dataclass(slots=True)
class _Call:
    """A tool call as far as it has come."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Choice:
    """A choice as far as it has come."""

    index: int
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    finish_reason: str | None = None
    is_told: bool = False

    def add_text(self, text: str) -> int:
        """Append `text`; return its size in characters."""
        return _append(self.text, text)

    def add_reasoning(self, text: str) -> int:
        """Append `text` to what it thought; return its size in characters."""
        return _append(self.reasoning, text)

    def add_refusal(self, text: str) -> int:
        """Append `text` to what it says in refusing; return its size in characters."""
        return _append(self.refusal, text)

    def add_call(self, part: CallDelta) -> int:
        """Append a fragment, put it into its plainest form, and return what it takes in octets."""
        arguments = part.function.arguments or ""
        known = self.calls.get(part.index)
        taken = len(arguments) + (CALL_OCTETS if known is None else FRAGMENT_OCTETS)
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
        known.arguments.append(arguments)
        return taken + len(known.name) + len(known.id)

    def tell(self, part: ChoiceDelta) -> bool:
        """Return whether `part` says something; the first that does says whose words they are.

        Programs want that said, and join what is said again.
        """
        says = part.finish_reason is not None or part.logprobs is not None or _says(part.delta)
        if says and not self.is_told:
            part.delta.role, self.is_told = "assistant", True
        return says

    @property
    def has_readable_calls(self) -> bool:
        """Whether each call has a name and arguments, unless the answer was cut off."""
        return self.finish_reason in CUT_OFF or all(
            is_readable(call.name, "".join(call.arguments)) for call in self.calls.values()
        )

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
        return {
            "index": self.index,
            "content": "".join(self.text),
            "reasoning_content": "".join(self.reasoning),
            "refusal": "".join(self.refusal),
            "tool_calls": calls,
            "finish_reason": self.finish_reason,
        }


def _append(words: list[str], text: str) -> int:
    words.append(text)
    if len(words) > LOOSE_WORDS:
        words[:] = ["".join(words)]
    return len(text)


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
        "ended",
        "usage",
    )

    def __init__(self, expected: int, holding: Holding, *, gives_reasoning: bool = True) -> None:
        self._expected = expected
        self._gives_reasoning = gives_reasoning
        self._holding = holding
        self._allowed = 0  # characters for which memory has been taken
        self._choices: dict[int, _Choice] = {}
        self._size = 0
        self._beside = 0  # octets, the most that others kept
        self.usage: Usage | None = None
        self.ended = False

    def take(self, event: Event) -> list[ChoiceDelta]:
        """Add `event`; return what is left to pass on. Raises UpstreamError.

        Nothing comes after an event that ends the answer.
        """
        self.ended = event.ends
        self.usage = event.usage or self.usage
        return [part for part in event.choices if self._take(part)]

    def finish(self) -> list[ChoiceDelta]:
        """Return the ends that the upstream left out; UpstreamError if it is not complete."""
        unfinished = [choice for choice in self._choices.values() if choice.finish_reason is None]
        complete = self.ended or (len(self._choices) >= self._expected and not unfinished)
        if not complete or not self._choices:
            raise UpstreamError(Failure.BROKEN)
        if not all(choice.has_readable_calls for choice in self._choices.values()):
            raise UpstreamError(Failure.TOOL_USE_FAILED)
        for choice in unfinished:
            choice.finish_reason = "tool_calls" if choice.calls else "stop"
        return [
            ChoiceDelta(choice.index, finish_reason=choice.finish_reason) for choice in unfinished
        ]

    def outputs(self) -> Sequence[dict[str, Any]]:
        """Return what `protocol.signature` signs of each choice, in the order of their index."""
        return [choice.output() for _, choice in sorted(self._choices.items())]

    def count(self, octets: int) -> None:
        """Count what somebody else keeps of the answer; raises UpstreamError."""
        self._size += octets // CHARACTER_OCTETS
        if self._size > self._allowed:
            self._take_memory()

    def count_beside(self, octets: int) -> None:
        """Count what others keep of the answer at the moment, in all; raises UpstreamError."""
        if octets > self._beside:
            grown, self._beside = octets - self._beside, octets
            self.count(grown + CHARACTER_OCTETS - 1)

    def _take_memory(self) -> None:
        """Take memory for what has come and some more; raises UpstreamError."""
        if self._size > MAX_ANSWER_BYTES:
            raise UpstreamError(Failure.BROKEN)
        self._allowed = min(self._size + STEP_CHARACTERS, MAX_ANSWER_BYTES)
        if not self._holding.takes(CHARACTER_OCTETS * self._allowed):
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
