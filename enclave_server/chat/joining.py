"""A streamed answer joined into a whole one, for a client that asked for it whole.

An upstream that streams shows that it is alive, and nothing on the way cuts off a model that thinks
for long.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from enclave_server.chat.conversation import (
    Answer,
    Call,
    Choice,
    ChoiceDelta,
    Event,
    Function,
    Logprobs,
    PartState,
    Reply,
    Usage,
)
from enclave_server.chat.spoken import Spoken, require_readable
from enclave_server.chat.transcript import Transcript
from enclave_server.memory import Holding

# What a state, or the likelihoods of an event, take besides their octets.
STATE_OCTETS = 256
LIKELY_OCTETS = 64


class Joined(msgspec.Struct, frozen=True):
    """An answer as it was kept: of each choice the likelihoods of its events, encoded."""

    choices: list[Spoken]
    logprobs: dict[int, list[bytes]]
    usage: Usage | None
    states: tuple[PartState, ...]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Joined)
_LOGPROBS = msgspec.msgpack.Decoder(Logprobs)


def decode_joined(data: bytes) -> Answer:
    """Return the answer that was encoded; raises UpstreamError for calls of no sense."""
    joined = _DECODER.decode(data)
    require_readable(joined.choices)
    choices = [_choice(each, joined.logprobs.get(each.index, ())) for each in joined.choices]
    return Answer(choices, joined.usage, joined.states)


def _choice(spoken: Spoken, likely: Sequence[bytes]) -> Choice:
    calls = [Call(call.id, Function(call.name, call.arguments.decode())) for call in spoken.calls]
    reply = Reply(
        content=spoken.text.decode() or (None if calls else ""),
        refusal=spoken.refusal.decode() or None,
        tool_calls=calls or UNSET,
        reasoning_content=spoken.reasoning.decode() or UNSET,
    )
    logprobs = _strung([_LOGPROBS.decode(each) for each in likely])
    return Choice(spoken.index, reply, logprobs, spoken.finish_reason)


def _strung(likely: Sequence[Logprobs]) -> Logprobs | None:
    """Return the likelihoods of all events in one."""
    if not likely:
        return None
    lists = {
        name: [token for each in likely for token in getattr(each, name) or ()]
        for name in Logprobs.__struct_fields__
    }
    return Logprobs(**{name: tokens for name, tokens in lists.items() if tokens})


class Joiner:
    """Takes the events of an answer of `choices` choices, in their order.

    Likelihoods are encoded as they come: so their size is known, and their objects are not kept.
    """

    __slots__ = ("_kept", "_logprobs", "_states", "_transcript")

    def __init__(self, choices: int, holding: Holding) -> None:
        """What is kept of the answer is taken of `holding`."""
        self._transcript = Transcript(choices, holding)
        self._logprobs: dict[int, list[bytes]] = {}
        self._states: list[PartState] = []
        self._kept = 0  # octets of states

    def add(self, event: Event) -> None:
        """Add `event`; raises UpstreamError."""
        for part in self._transcript.take(event):
            if part.logprobs is not None:
                self._add_logprobs(part)
        self._states += event.states
        self._kept += sum(STATE_OCTETS + len(part.state.value) for part in event.states)

    def cut(self) -> None:
        """End the answer here, as by its limit."""
        self._transcript.cut()

    def count(self, kept: int) -> None:
        """Count what is kept of states, and the octets that the reader has `kept`.

        Raises UpstreamError.
        """
        self._transcript.count_beside(self._kept + kept)

    def joined(self) -> bytes:
        """Return the answer for `decode_joined`; raises UpstreamError if it is not complete."""
        transcript = self._transcript
        transcript.finish()
        whole = Joined(transcript.spoken(), self._logprobs, transcript.usage, tuple(self._states))
        return _ENCODER.encode(whole)

    def answer(self) -> Answer:
        """Return the whole answer; raises UpstreamError if it is not complete."""
        return decode_joined(self.joined())

    def _add_logprobs(self, part: ChoiceDelta) -> None:
        octets = _ENCODER.encode(part.logprobs)
        self._transcript.count(LIKELY_OCTETS + len(octets))
        self._logprobs.setdefault(part.index, []).append(octets)
