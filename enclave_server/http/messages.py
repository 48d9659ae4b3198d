"""The outer HTTP exchange as the routes see it: one whole request, one answer."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class OuterRequest:
    """A request whose framing has been checked; field names are lower case."""

    method: bytes
    path: bytes
    query: bytes
    headers: Headers
    body: bytes = b""

    def fields(self, name: bytes) -> list[bytes]:
        """Return every value of the field `name` (lower case), in order."""
        return [value for field, value in self.headers if field == name]


@dataclass(frozen=True, slots=True)
class OuterResponse:
    """An answer; framing fields are added when it is sent.

    A body that is an iterator is sent in chunked transfer coding, each item as soon as it comes.
    `route` is a name of ours for the log, never what the peer wrote.
    """

    status: int
    headers: Headers = ()
    body: bytes | AsyncIterator[bytes] = b""
    route: str = "none"


# Answers a whole request, at once or later. What is awaited is cancelled when the peer goes away.
Handler = Callable[[OuterRequest], OuterResponse | Awaitable[OuterResponse]]

# Sees a request without its body, before the upload: what will answer it, or a refusal.
Router = Callable[[OuterRequest], Handler | OuterResponse]
