"""What a dialect is: one way in which upstreams are asked and answer.

A dialect is a file, or a folder, beside this one, and a line in `table.py`; nothing else changes.
It knows all quirks of those who speak it. It never sees an identifier that a client made.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from enclave_server.chat.conversation import Answer, AnyQuestion, Event, Kind
from enclave_server.chat.embedding import Embedding, Vectors
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.models import Model
from protocol.binary_http import Fields


class Account(msgspec.Struct, frozen=True):
    """Whose account at the upstream pays: the API key, if one is wanted, and further settings."""

    key: str | None = None
    settings: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return "Account()"


class UpstreamRequest(msgspec.Struct, frozen=True):
    """A POST to an upstream: `path` is below its prefix, `accept` the one media type to take.

    `fields` are those that no other dialect sends: of the account, and of versions.
    """

    path: str
    fields: Fields
    body: bytes
    accept: bytes


class StreamReader(Protocol):
    """Reads one streamed answer.

    An upstream's event of more than `largest` characters is not read but yielded as it came: `read`
    reads it then, of this reader or of one elsewhere that has its state.
    """

    largest: int

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside what it has given, about."""
        ...

    def feed(self, piece: bytes) -> Iterable[Event]:
        """Yield the events that `piece` completes, one by one, or raise UpstreamError amid them.

        What follows the event that ends the answer is not asked for.
        """
        ...

    def read(self, octets: bytes) -> Iterable[Event]:
        """Yield what a large event says, or raise UpstreamError amid it."""
        ...

    def save(self) -> bytes:
        """Return the state, without what is unfinished; raises UpstreamError."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on from a state that was saved."""
        ...


class Dialect(Protocol):
    """Writes requests and reads answers; `kind` is the type of the question that was asked."""

    def request(self, question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
        """Return the request for `question`; raises ChatError for what cannot be said."""
        ...

    def read(self, kind: Kind, body: bytes) -> Answer:
        """Return a whole answer of status 200; raises UpstreamError."""
        ...

    def stream(self, kind: Kind) -> StreamReader:
        """Return what reads a streamed answer of status 200."""
        ...

    def fault(self, status: int, fields: Fields, body: bytes) -> UpstreamError:
        """Return what an answer of another status becomes; `body` may be cut, or garbage.

        The names of `fields` are in lower case.
        """
        ...


class EmbeddingDialect(Protocol):
    """What a dialect has beside if its servers make embeddings."""

    def embed(self, question: Embedding, model: Model, account: Account) -> UpstreamRequest:
        """Return the request for `question`; raises ChatError for what cannot be said."""
        ...

    def read_vectors(self, body: bytes, entries: int) -> Vectors:
        """Return the vectors of so many entries, of status 200; raises UpstreamError."""
        ...
