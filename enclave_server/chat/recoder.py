"""Turns a streamed answer from its upstream's dialect into its surface's, and signs it.

What a piece becomes is made in steps, as far as one turn of the event loop should go: whoever feeds
it asks for more as long as it `has_more`. What waits for another process (an event that is too
large, the signature over a long answer) is awaited with `go_outside`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from enclave_server.chat.conversation import ChoiceDelta, Event, says_something
from enclave_server.chat.dialects.dialect import StreamReader
from enclave_server.chat.errors import ChatError
from enclave_server.chat.large import (
    EVENT_COPIES,
    LARGE_BYTES,
    SLICE,
    Outside,
    decode_slice,
)
from enclave_server.chat.overrun import Overrun
from enclave_server.chat.paying import UNPAID, Payment
from enclave_server.chat.spoken import require_readable
from enclave_server.chat.surfaces.surface import Signature, Step, StreamWriter
from enclave_server.chat.transcript import Transcript
from enclave_server.memory import Holding

Outputs = Sequence[dict[str, Any]]
"""What is signed of each choice."""

Sign = Callable[[Outputs], Signature]

Steps = Iterator[Step]


@dataclass(frozen=True, slots=True)
class Expected:
    """What was asked for: the number of choices, and whether to end with the count of tokens."""

    choices: int
    usage: bool


class Recoder:
    """Reads pieces, enters them into the transcript, and writes what is to be sent.

    Once `is_ending`, nothing that could still come would change the answer. While it `waits`,
    nothing comes of it before `go_outside` has returned.
    """

    __slots__ = (
        "_expected",
        "_fault",
        "_gives_reasoning",
        "_has_begun",
        "_holding",
        "_large",
        "_outside",
        "_overrun",
        "_payment",
        "_reader",
        "_sign",
        "_signature",
        "_slices",
        "_steps",
        "_transcript",
        "_writer",
        "failed",
        "is_ending",
        "waits",
        "was_cut",
    )

    def __init__(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        expected: Expected,
        sign: Sign,
        holding: Holding,
        *,
        gives_reasoning: bool = True,
        outside: Outside | None = None,
        payment: Payment = UNPAID,
        paid_tokens: int | None = None,
    ) -> None:
        """What is kept of the answer is taken of `holding`, until `close`.

        It `gives_reasoning`, and states, if what it signs with covers reasoning. Without `outside`
        all is done here, however large it is. What runs far beyond `paid_tokens` `was_cut`.
        """
        self._reader, self._writer = reader, writer
        self._expected, self._sign = expected, sign
        self._holding, self._gives_reasoning = holding, gives_reasoning
        self._payment, self._overrun = payment, Overrun(paid_tokens)
        self._transcript = Transcript(expected.choices, holding, gives_reasoning=gives_reasoning)
        self._outside = outside
        if outside is not None:
            reader.largest = LARGE_BYTES
        self._steps: Steps | None = None
        self._large: bytes | None = None
        self._slices: Sequence[bytes] = ()
        self._fault: ChatError | None = None
        self._signature: Signature | None = None
        self.failed = self.is_ending = self.waits = self._has_begun = self.was_cut = False

    @property
    def has_more(self) -> bool:
        """Whether something comes yet of what it was fed, or of the end."""
        return self._steps is not None

    def feed(self, piece: bytes) -> bytes:
        """Return what a piece of the upstream's answer becomes, be it nothing, or its failure.

        The rest of a long one comes of `go_on`, as long as it `has_more`.
        """
        taken = self._take(piece)
        self._steps = taken if self._steps is None else chain(self._steps, taken)
        return self.go_on()

    def go_on(self) -> bytes:
        """Return what comes next, be it nothing, or the failure."""
        text = bytearray()
        steps = self._steps or iter(())
        try:
            for step in steps:
                if step is None:
                    return bytes(text)
                if len(step) >= SLICE:
                    return self._uncopied(bytes(text), step, steps)
                text += step
                if len(text) >= SLICE:
                    return bytes(text)
            self._steps = None
        except ChatError as error:
            text += self.fail(error)
        return bytes(text)

    def _uncopied(self, before: bytes, step: bytes, steps: Steps) -> bytes:
        """Return a long `step` as it is, or what came before it, which leaves it for the next."""
        if before:
            self._steps = chain((step,), steps)
        return before or step

    async def go_outside(self) -> None:
        """Have done elsewhere what is too large; the failure of that comes of `go_on`."""
        if self._outside is None or not self.waits:
            return
        try:
            if self._large is not None:
                large, self._large = self._large, None
                self._slices, self._fault = await self._outside.read(self._reader, large)
            else:
                self._signature = await self._outside.sign(self._transcript.spoken())
        except ChatError as error:
            self._fault = error
        self.waits = False

    def finish(self) -> bytes:
        """Return the end of the answer; raises UpstreamError if it is not complete."""
        return b"".join(step for step in chain(self._steps or (), self._end()) if step)

    def end(self) -> None:
        """Begin the end of the answer, which comes of `go_on`."""
        self._steps = self._end()

    def fail(self, error: ChatError) -> bytes:
        """Return the end of an answer that fails."""
        self.failed = self.is_ending = True
        self._steps, self.waits = None, False
        self._payment.fail(error)
        error.token = self._payment.status
        return self._writer.fail(error)

    def close(self) -> None:
        """Give back the memory: nothing more is asked of it, and the client may have gone."""
        self._steps, self._large, self._slices = None, None, ()
        self._holding.give_back()
        self._payment.begin()

    def _begin(self, parts: Sequence[ChoiceDelta]) -> None:
        """Have the answer paid for once there is something in it for its client."""
        if any(says_something(part.delta) for part in parts):
            self._has_begun = True
            self._payment.begin()

    def _take(self, piece: bytes) -> Steps:
        for event in self._reader.feed(piece):
            if event.large is None:
                yield from self._write(event)
            else:
                yield from self._read_large(event.large)
            if self.is_ending:
                break
        self._transcript.count_beside(self._reader.kept + self._writer.kept)

    def _read_large(self, octets: bytes) -> Steps:
        """Let an event be read elsewhere; then go on with what it says, slice after slice."""
        kept = self._reader.kept + self._writer.kept
        self._transcript.count_beside(kept + EVENT_COPIES * len(octets))
        self._large, self.waits = octets, True
        yield None
        slices, self._slices = self._slices, ()
        for each in slices:
            yield from self._write(decode_slice(each))
            if self.is_ending:
                return
            yield None
        self._raise_fault()

    def _write(self, event: Event) -> Steps:
        is_too_much = self._overrun.is_reached(event)
        self._writer.fit(event.choices)
        if parts := self._transcript.take(event):
            if not self._has_begun:
                self._begin(parts)
            yield from self._writer.events(parts)
        if is_heavy := _is_heavy(event):
            yield None
        if event.thought is not None and self._gives_reasoning:
            yield self._writer.end_thought(event.thought)
        if event.states and self._gives_reasoning:
            yield self._writer.keep(event.states)
        if is_heavy:
            yield None
        if event.ends:
            self.is_ending = True
        elif is_too_much:
            self._transcript.cut()
            self.is_ending = self.was_cut = True

    def _end(self) -> Steps:
        transcript = self._transcript
        ends = transcript.finish()
        if self._outside is not None and transcript.size > LARGE_BYTES:
            self.waits = True
            yield None
            self._raise_fault()
        self._payment.begin()
        if (signature := self._signature) is None:
            require_readable(transcript.spoken())
            signature = self._sign(transcript.outputs())
        for end in ends:
            yield from self._writer.events([end])
        usage = transcript.usage if self._expected.usage else None
        yield from self._writer.conclusion(usage, signature)

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault


def _is_heavy(event: Event) -> bool:
    """Whether a state in it takes what one turn should."""
    if event.thought is not None and len(event.thought.value) > LARGE_BYTES:
        return True
    return any(len(part.state.value) > LARGE_BYTES for part in event.states)
