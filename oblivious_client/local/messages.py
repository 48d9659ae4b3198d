"""Requests of programs on this machine, and what they are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Protocol

Fields = tuple[tuple[bytes, bytes], ...]


class Pieces(Protocol):
    """A body in pieces; closed, it leaves nothing behind, be it read or not."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the pieces as they come."""
        ...

    def aclose(self) -> Awaitable[None]:
        """Stop what makes them."""
        ...


@dataclass(frozen=True, slots=True)
class LocalRequest:
    """A request of a program on this machine; field names are lower-case.

    It has no body yet where it is asked whether one may come.
    """

    method: str
    path: str
    fields: Fields
    body: bytes = field(default=b"", repr=False)

    def count(self, name: bytes) -> int:
        """Return how many fields of that name there are."""
        return sum(key == name for key, _ in self.fields)

    def field(self, name: bytes) -> str | None:
        """Return the value of the only field of that name, or None."""
        values = [value for key, value in self.fields if key == name]
        return values[0].decode("latin-1") if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class LocalResponse:
    """A response; a body in pieces is sent in chunks as they come."""

    status: int
    fields: Fields
    body: bytes | Pieces = field(repr=False)

    def beside(self, more: Fields) -> LocalResponse:
        """Return the same response with more fields."""
        return LocalResponse(self.status, (*self.fields, *more), self.body)


@dataclass(frozen=True, slots=True)
class Handled:
    """What is known of a request that has been answered: no octet of either body."""

    method: str
    path: str
    status: int
    received: int
    sent: int
    seconds: float
    is_whole: bool
