"""What harnesses share: decisions taken out of an input, ways to cut it, and refusals as values."""

import os
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from protocol.errors import ProtocolError

SINGLE, TOGETHER = 128, 13

T = TypeVar("T")
P = ParamSpec("P")


class Refused:
    """What a reader returns in the place of an error that it may raise."""

    def __repr__(self) -> str:
        return "REFUSED"


REFUSED = Refused()


class Attempt:
    """Calls readers; an error of theirs that they may raise is REFUSED, any other is a fault."""

    def __init__(self, *errors: type[Exception]) -> None:
        self._errors = errors

    def __call__(
        self, read: Callable[P, T], *arguments: P.args, **options: P.kwargs
    ) -> T | Refused:
        """Return what `read` does."""
        try:
            return read(*arguments, **options)
        except self._errors:
            return REFUSED


attempt = Attempt(ProtocolError)


def ways(data: bytes) -> list[list[bytes]]:
    """Return `data` whole, octet by octet, and cut at places of its own choice."""
    chance = random.Random(zlib.crc32(data))
    places = sorted(chance.randint(0, len(data)) for _ in range(chance.randint(1, 6)))
    cut = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return [[data], _in_octets(data), cut]


def _in_octets(data: bytes) -> list[bytes]:
    """Return single octets; of a long input some in its middle together, which takes less time."""
    if len(data) <= 3 * SINGLE:
        return [data[at : at + 1] for at in range(len(data))]
    middle = data[SINGLE:-SINGLE]
    pieces = [middle[at : at + TOGETHER] for at in range(0, len(middle), TOGETHER)]
    return [*_in_octets(data[:SINGLE]), *pieces, *_in_octets(data[-SINGLE:])]


def same(results: Iterable[T]) -> T:
    """Return what all of `results` are; AssertionError if they differ."""
    first, *others = results
    for other in others:
        assert other == first, f"{first!r}, and then {other!r}"
    return first


class Octets:
    """Takes decisions out of an input, one after another; where it is used up, they are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Tell whether something is left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next octets, fewer if there are no more."""
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))

    def number(self, size: int = 1) -> int:
        """Return the next octets as a number."""
        return int.from_bytes(self.take(size), "big")

    def piece(self) -> bytes:
        """Return so many octets as the next one says."""
        return self.take(self.number())

    def one_of(self, choices: Sequence[T]) -> T:
        """Return one of `choices`."""
        return choices[self.number() % len(choices)]


class MemoryFile:
    """A file that stands on no disk, for readers that want a path."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("fuzz")

    def holding(self, data: bytes) -> Path:
        """Return the path of the file, which holds `data` until it is asked for again."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)
        return Path(f"/proc/self/fd/{self._descriptor}")
