"""Slots: which of a cluster's enclaves may open a sealed request.

A key's requests fall into 256 slots, by octets that stand at the same place for every mechanism, so
that a router that holds no key finds the slot too. A table gives each slot of one key to one owner,
and is made once, with the key.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from protocol.errors import MalformedMessage

SLOTS = 256

KEY_ID_AT = 0
HASHED = slice(7, 39)
"""After key, KEM, KDF and AEAD identifiers: the first 32 octets of any encapsulated key."""

OWNER_BYTES = 16
"""Of a member's identifier."""

MAX_OWNERS = 64
"""Members of one cluster: each has four slots then, and state stays far below its limit."""

RUN_BYTES = OWNER_BYTES + 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed request belongs: its key's identifier and its slot."""

    key_id: int
    slot: int


def place_of(data: bytes) -> Place | None:
    """Return the place of a sealed request; None for one too short to be opened by any key."""
    hashed = data[HASHED]
    if len(hashed) < HASHED.stop - HASHED.start:
        return None
    return Place(data[KEY_ID_AT], hashlib.sha256(hashed).digest()[0])


@dataclass(frozen=True, slots=True)
class Run:
    """Slots from `first` to `last`, both included, that belong to `owner` (16 octets)."""

    owner: bytes
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SlotTable:
    """The owner of each slot of one key; ValueError unless every slot has exactly one."""

    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        expected = 0
        for run in self.runs:
            if run.first != expected or run.last < run.first or len(run.owner) != OWNER_BYTES:
                raise ValueError("the runs do not give each slot one owner")
            expected = run.last + 1
        if expected != SLOTS:
            raise ValueError("the runs do not give each slot one owner")
        if len(self.owners) != len(self.runs) or len(self.runs) > MAX_OWNERS:
            raise ValueError("an owner has two runs, or there are too many owners")

    @property
    def owners(self) -> frozenset[bytes]:
        """All that own a slot."""
        return frozenset(run.owner for run in self.runs)

    def owned_by(self, owner: bytes) -> Sequence[Run]:
        """Return the runs of `owner`: one, or none."""
        return tuple(run for run in self.runs if run.owner == owner)

    def encode(self) -> bytes:
        """Return the runs, 18 octets each: owner, first, last."""
        return b"".join(run.owner + bytes([run.first, run.last]) for run in self.runs)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return what `encode` gave, or raise MalformedMessage."""
        if len(data) % RUN_BYTES:
            raise MalformedMessage("a table of slots is cut")
        parts = (data[at : at + RUN_BYTES] for at in range(0, len(data), RUN_BYTES))
        try:
            return cls(tuple(Run(part[:OWNER_BYTES], part[-2], part[-1]) for part in parts))
        except ValueError as error:
            raise MalformedMessage(str(error)) from None


def share_slots(members: Iterable[bytes]) -> SlotTable:
    """Return the table that gives each of `members` as many slots as the others, one more or less.

    ValueError for no member, for too many, or for one that is there twice.
    """
    owners = sorted(members)
    count = len(owners)
    if not 0 < count <= MAX_OWNERS:
        raise ValueError(f"a table is for 1 to {MAX_OWNERS} members")
    edges = [SLOTS * place // count for place in range(count + 1)]
    runs = zip(owners, edges, edges[1:], strict=False)
    return SlotTable(tuple(Run(owner, first, end - 1) for owner, first, end in runs))
