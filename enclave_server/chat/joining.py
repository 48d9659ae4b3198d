"""A streamed answer joined into a whole one, for a client that asked for it whole.

An upstream that streams shows that it is alive, and nothing on the way cuts off a model that thinks
for long.
"""

from collections.abc import Sequence
from typing import Any

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
)
from enclave_server.chat.transcript import Transcript
from enclave_server.memory import Holding

_LISTS = ("content", "refusal", "tokens", "token_logprobs", "top_logprobs", "text_offset")

# What the likelihood of a token takes, with the likely ones in its place.
TOKEN_OCTETS = 1024

# What a state takes besides its value.
STATE_OCTETS = 256

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Answer)


def encode_joined(answer: Answer) -> bytes:
    """Return `answer` in the form in which it waits to be finished."""
    return _ENCODER.encode(answer)


def decode_joined(data: bytes) -> Answer:
    """Return the answer that was encoded."""
    return _DECODER.decode(data)


class Joiner:
    """Takes the events of an answer of `choices` choices, in their order."""

    __slots__ = ("_kept", "_logprobs", "_states", "_transcript")

    def __init__(self, choices: int, holding: Holding) -> None:
        """What is kept of the answer is taken of `holding`."""
        self._transcript = Transcript(choices, holding)
        self._logprobs: dict[int, Logprobs] = {}
        self._states: list[PartState] = []
        self._kept = 0  # octets of states

    def add(self, event: Event) -> None:
        """Add `event`; raises UpstreamError."""
        for part in self._transcript.take(event):
            if part.logprobs is not None:
                self._add_logprobs(part)
        self._states += event.states
        self._kept += sum(STATE_OCTETS + len(part.state.value) for part in event.states)

    def count(self, kept: int) -> None:
        """Count what is kept of states, and the octets that the reader has `kept`.

        Raises UpstreamError.
        """
        self._transcript.count_beside(self._kept + kept)

    def answer(self) -> Answer:
        """Return the whole answer; raises UpstreamError if it is not complete."""
        self._transcript.finish()
        choices = [self._choice(output) for output in self._transcript.outputs()]
        return Answer(choices, self._transcript.usage, tuple(self._states))

    def _choice(self, output: dict[str, Any]) -> Choice:
        calls = [
            Call(call["id"], Function(call["function"]["name"], call["function"]["arguments"]))
            for call in output["tool_calls"]
        ]
        reply = Reply(
            content=output["content"] or (None if calls else ""),
            refusal=output["refusal"] or None,
            tool_calls=calls or UNSET,
            reasoning_content=output["reasoning_content"] or UNSET,
        )
        index = output["index"]
        return Choice(index, reply, self._logprobs.get(index), output["finish_reason"])

    def _add_logprobs(self, part: ChoiceDelta) -> None:
        known = self._logprobs.get(part.index)
        if known is None:
            known = self._logprobs[part.index] = Logprobs()
        tokens: Sequence[object]
        for name in _LISTS:
            if tokens := getattr(part.logprobs, name) or ():
                self._transcript.count(TOKEN_OCTETS * len(tokens))
                kept = getattr(known, name)
                if kept is None:
                    kept = []
                    setattr(known, name, kept)
                kept += tokens
