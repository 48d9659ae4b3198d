"""The memory of requests already answered, shared by all workers (RFC 9458, Section 6.5).

A table in shared memory, made before the workers are forked. An encapsulated key (`enc`) is
hashed with a key that is random per start; the hash chooses two buckets and a tag. A bucket holds
32 tags of 12 bytes and 32 times of 4 bytes, after which the entry is not needed any more:
16 bytes a slot, and two slots for each entry of the configured capacity. When both buckets are full
of entries that are still needed the answer is `FULL`: the table refuses rather than forgets.

The table's time never goes back, whatever the clock does: an entry that was given up because its
time had passed belongs to a request that stays too old.
"""

import enum
import fcntl
import hashlib
import math
import mmap
import os
import secrets
import struct
from collections.abc import Callable

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


class Verdict(enum.Enum):
    """What the filter found about a request."""

    NEW = enum.auto()
    REPEATED = enum.auto()
    EXPIRED = enum.auto()
    FULL = enum.auto()


class ReplayFilter:
    """Remembers each `enc` until a given time; one object, inherited by every forked worker."""

    __slots__ = ("_buckets", "_fd", "_key", "_table")

    def __init__(self, capacity: int, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._buckets = max(2, math.ceil(capacity * SLOTS_PER_ENTRY / SLOTS))
        self._key = random(32)
        # Locks of fcntl belong to a process and an inode and end with the process: a worker that
        # is killed in the middle of an insertion leaves neither a held lock nor a half entry.
        self._fd = os.memfd_create("replay", os.MFD_CLOEXEC)
        size = MARK_SIZE + self._buckets * BUCKET_SIZE
        os.ftruncate(self._fd, size)
        self._table = mmap.mmap(self._fd, size)

    @property
    def size(self) -> int:
        """The bytes of memory that the table takes when it is in full use."""
        return len(self._table)

    def time(self, now: float) -> float:
        """Return the table's time: the latest `now` that any process has passed in."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            return self._advance(now)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def insert(self, enc: bytes, until: float, now: float) -> Verdict:
        """Remember `enc` until `until` (Unix seconds); only `NEW` lets the request through."""
        digest = hashlib.blake2b(enc, digest_size=TAG_SIZE + 16, key=self._key).digest()
        tag, first, second = _PLACE.unpack(digest)
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            now = self._advance(now)
            if until < now:
                return Verdict.EXPIRED
            return self._insert(tag, self._bucket(first), self._bucket(second), until, now)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _bucket(self, digest: int) -> int:
        return MARK_SIZE + digest % self._buckets * BUCKET_SIZE

    def _advance(self, now: float) -> float:
        mark: float = _MARK.unpack_from(self._table)[0]
        if now <= mark:
            return mark
        _MARK.pack_into(self._table, 0, now)
        return now

    def _insert(self, tag: bytes, first: int, second: int, until: float, now: float) -> Verdict:
        table = self._table
        for bucket in (first, second):
            found = table.find(tag, bucket, bucket + TAGS_SIZE)
            if found >= 0 and self._holds(bucket, found, tag, now):
                return Verdict.REPEATED
        for bucket in (first, second):
            times = _TIMES.unpack_from(table, bucket + TAGS_SIZE)
            earliest = min(times)
            if earliest < now:
                self._store(bucket, times.index(earliest), tag, until)
                return Verdict.NEW
        return Verdict.FULL

    def _holds(self, bucket: int, found: int, tag: bytes, now: float) -> bool:
        """Whether `tag`, whose bytes are at `found`, stands in a slot whose time has not come."""
        end = bucket + TAGS_SIZE
        while found >= 0:
            slot, rest = divmod(found - bucket, TAG_SIZE)
            if rest == 0 and _TIME.unpack_from(self._table, end + slot * 4)[0] >= now:
                return True
            found = self._table.find(tag, found + 1, end)
        return False

    def _store(self, bucket: int, slot: int, tag: bytes, until: float) -> None:
        at = bucket + slot * TAG_SIZE
        # The tag before its time: until the time is there the slot still counts as free.
        self._table[at : at + TAG_SIZE] = tag
        _TIME.pack_into(self._table, bucket + TAGS_SIZE + slot * 4, _ceiling(until))


def _ceiling(until: float) -> int:
    return min(math.ceil(until), _LATEST)
