"""What a surface is: one way in which clients ask and are answered, inside the seal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from enclave_server.chat.conversation import (
    Answer,
    AnyQuestion,
    ChoiceDelta,
    PartState,
    State,
    Usage,
)
from enclave_server.chat.errors import ChatError
from protocol.binary_http import Response

Step = bytes | None
"""What is to be sent next; None lets others have their turn of the event loop."""

Signature = Mapping[str, str | int]
"""The members that `protocol.signature` adds to an answer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the gateway says an answer is: identifier, Unix time, the requested model's name.

    `upstream` is whose it is: it is told to nobody but within a state.
    """

    id: str
    created: int
    model: str
    upstream: str = ""

    @property
    def origin(self) -> tuple[str, str]:
        """What a state of the answer names for its origin."""
        return self.upstream, self.model


class StreamWriter(Protocol):
    """Writes one streamed answer."""

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside its texts, about."""
        ...

    def fit(self, parts: Sequence[ChoiceDelta]) -> None:
        """Change `parts` into what the surface can say of them, before they are signed."""
        ...

    def events(self, parts: Sequence[ChoiceDelta]) -> Iterable[Step]:
        """Yield what can be sent now that `parts` have come, each in a turn of its own if long."""
        ...

    def end_thought(self, state: State) -> bytes:
        """Return what can be sent now that a thought has ended; most surfaces say nothing."""
        ...

    def keep(self, states: Sequence[PartState]) -> bytes:
        """Return what can be sent now that these `states` have come; some surfaces carry none."""
        ...

    def conclusion(self, usage: Usage | None, signature: Signature) -> Iterable[Step]:
        """Yield the rest of a complete answer, which is signed."""
        ...

    def fail(self, error: ChatError) -> bytes:
        """Return the end of an answer that fails."""
        ...


class Surface(Protocol):
    """Reads requests and writes answers. `id_prefix` begins the identifiers of its answers."""

    @property
    def id_prefix(self) -> str:
        """The letters with which the identifiers of its answers begin."""
        ...

    def read(self, content: bytes) -> AnyQuestion:
        """Return the request in `content`; raises ChatError."""
        ...

    def fit(self, answer: Answer) -> None:
        """Change `answer` into what the surface can say of it, before it is signed."""
        ...

    def write(self, answer: Answer, identity: Identity, signature: Signature) -> bytes:
        """Return a whole answer."""
        ...

    def stream(self, identity: Identity) -> StreamWriter:
        """Return what writes a streamed answer."""
        ...

    def refuse(self, error: ChatError) -> Response:
        """Return what a request gets that is refused, or fails before its answer begins."""
        ...
