"""A table in shared memory that remembers keys, each until a time of its own, for all processes.

It is made before the workers are forked. A key is hashed with another one that is random per start;
the hash chooses two buckets and a tag. A bucket holds 32 tags of 12 bytes and 32 times of 4 bytes,
after which the entry is not needed any more: 16 bytes a slot, and two slots for each entry of the
configured capacity. When both buckets are full of entries that are still needed nothing is added:
the table refuses rather than forgets.

The table's time never goes back, whatever the clock does: an entry that was given up because its
time had passed stays given up. Whoever reads or changes anything holds the lock: `with table:`.
"""

import fcntl
import hashlib
import math
import mmap
import os
import secrets
import struct
from collections.abc import Callable
from typing import NamedTuple, Self

SLOTS = 32
TAG_SIZE = 12  # 96 bits: one pair among a million entries collides once in 10^17 tables
TAGS_SIZE = SLOTS * TAG_SIZE
BUCKET_SIZE = TAGS_SIZE + SLOTS * 4
SLOTS_PER_ENTRY = 2  # so that both buckets of an entry fill up only when the table does
MARK_SIZE = BUCKET_SIZE  # the table's time, in a place of its own before the buckets

_TIMES = struct.Struct(f"<{SLOTS}I")
_PLACE = struct.Struct(f"<{TAG_SIZE}sQQ")  # tag, first bucket, second bucket
_TIME = struct.Struct("<I")
_MARK = struct.Struct("<d")
_LATEST = 2**32 - 1  # February 2106


class Place(NamedTuple):
    """Where a key may be: its tag, and the offsets of its two buckets."""

    tag: bytes
    first: int
    second: int


class SharedTable:
    """Keys and their times; one object, inherited by every forked worker."""

    __slots__ = ("_buckets", "_fd", "_hash", "_octets")

    def __init__(
        self, name: str, capacity: int, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._buckets = max(2, math.ceil(capacity * SLOTS_PER_ENTRY / SLOTS))
        # A copy of what has its key costs half of what is given one.
        self._hash = hashlib.blake2b(digest_size=TAG_SIZE + 16, key=random(32))
        # Locks of fcntl belong to a process and an inode and end with the process: a worker that
        # is killed in the middle of a change leaves neither a held lock nor a half entry.
        self._fd = os.memfd_create(name)
        size = MARK_SIZE + self._buckets * BUCKET_SIZE
        os.ftruncate(self._fd, size)
        self._octets = mmap.mmap(self._fd, size)

    def __enter__(self) -> Self:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)

    @property
    def size(self) -> int:
        """The bytes of memory that the table takes when it is in full use."""
        return len(self._octets)

    def close(self) -> None:
        """Give the memory back; for whoever makes many."""
        self._octets.close()
        os.close(self._fd)

    def place(self, key: bytes) -> Place:
        """Return where `key` may be."""
        mac = self._hash.copy()
        mac.update(key)
        tag, first, second = _PLACE.unpack(mac.digest())
        return Place(tag, self._bucket(first), self._bucket(second))

    def advance(self, now: float) -> float:
        """Return the table's time: the latest `now` that any process has passed in."""
        mark: float = _MARK.unpack_from(self._octets)[0]
        if now <= mark:
            return mark
        _MARK.pack_into(self._octets, 0, now)
        return now

    def find(self, place: Place, now: float) -> int | None:
        """Return the slot of an entry whose time has not come, or None."""
        octets, (tag, *buckets) = self._octets, place
        for bucket in buckets:
            end = bucket + TAGS_SIZE
            found = octets.find(tag, bucket, end)
            while found >= 0:
                number, rest = divmod(found - bucket, TAG_SIZE)
                slot = end + number * 4
                if rest == 0 and self.until(slot) >= now:
                    return slot
                found = octets.find(tag, found + 1, end)
        return None

    def add(self, place: Place, until: float, now: float) -> int | None:
        """Remember an entry that is not there until `until`.

        Return its slot, or None if there is no room.
        """
        for bucket in place[1:]:
            times = _TIMES.unpack_from(self._octets, bucket + TAGS_SIZE)
            earliest = min(times)
            if earliest < now:
                number = times.index(earliest)
                at = bucket + number * TAG_SIZE
                # The tag before its time: until the time is there the slot still counts as free.
                self._octets[at : at + TAG_SIZE] = place.tag
                slot: int = bucket + TAGS_SIZE + number * 4
                _TIME.pack_into(self._octets, slot, ceiling(until))
                return slot
        return None

    def has(self, tag: bytes, slot: int, until: int) -> bool:
        """Tell whether the entry in a slot is that of `tag`, and has this time."""
        bucket = slot - slot % BUCKET_SIZE
        at = bucket + (slot - bucket - TAGS_SIZE) // 4 * TAG_SIZE
        return self.until(slot) == until and self._octets[at : at + TAG_SIZE] == tag

    def until(self, slot: int) -> int:
        """Return the time of the entry in a slot."""
        time: int = _TIME.unpack_from(self._octets, slot)[0]
        return time

    def put(self, slot: int, until: float) -> None:
        """Change the time of the entry in a slot; of time 0 it is free at once."""
        _TIME.pack_into(self._octets, slot, ceiling(until))

    def _bucket(self, digest: int) -> int:
        return MARK_SIZE + digest % self._buckets * BUCKET_SIZE


def ceiling(until: float) -> int:
    """Return `until` in whole seconds, no less, as an entry keeps it."""
    return min(math.ceil(until), _LATEST)
