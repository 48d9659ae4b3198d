"""Turns a streamed answer from its upstream's dialect into its surface's, and signs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from enclave_server.chat.dialects.dialect import StreamReader
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.surfaces.surface import Signature, StreamWriter
from enclave_server.chat.transcript import Transcript
from enclave_server.memory import Holding

Outputs = Sequence[dict[str, Any]]
"""What is signed of each choice."""

Sign = Callable[[Outputs], Signature]


@dataclass(frozen=True, slots=True)
class Expected:
    """What was asked for: the number of choices, and whether to end with the count of tokens."""

    choices: int
    usage: bool


class Recoder:
    """Reads pieces, enters them into the transcript, and writes what is to be sent.

    Once `is_ending`, nothing that could still come would change the answer.
    """

    __slots__ = (
        "_expected",
        "_gives_reasoning",
        "_holding",
        "_reader",
        "_sign",
        "_transcript",
        "_writer",
        "failed",
        "is_ending",
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
    ) -> None:
        """What is kept of the answer is taken of `holding`, until `close`.

        It `gives_reasoning`, and states, if what it signs with covers reasoning.
        """
        self._reader, self._writer = reader, writer
        self._expected, self._sign = expected, sign
        self._holding, self._gives_reasoning = holding, gives_reasoning
        self._transcript = Transcript(expected.choices, holding, gives_reasoning=gives_reasoning)
        self.failed = self.is_ending = False

    def feed(self, piece: bytes) -> bytes:
        """Return what a piece of the upstream's answer becomes, be it nothing, or its failure."""
        text = bytearray()
        try:
            for event in self._reader.feed(piece):
                self._writer.fit(event.choices)
                if parts := self._transcript.take(event):
                    text += self._writer.write(parts)
                if event.thought is not None and self._gives_reasoning:
                    text += self._writer.end_thought(event.thought)
                if event.states and self._gives_reasoning:
                    text += self._writer.keep(event.states)
                if event.ends:
                    self.is_ending = True
                    break
            self._transcript.count_beside(self._reader.kept + self._writer.kept)
        except UpstreamError as error:
            text += self.fail(error)
        return bytes(text)

    def finish(self) -> bytes:
        """Return the end of the answer; raises UpstreamError if it is not complete."""
        ends = self._transcript.finish()
        text = b"".join(self._writer.write([end]) for end in ends)
        signature = self._sign(self._transcript.outputs())
        usage = self._transcript.usage if self._expected.usage else None
        return text + self._writer.finish(usage, signature)

    def fail(self, error: UpstreamError) -> bytes:
        """Return the end of an answer that fails."""
        self.failed = self.is_ending = True
        return self._writer.fail(error)

    def close(self) -> None:
        """Give back the memory: nothing more is asked of it."""
        self._holding.give_back()
