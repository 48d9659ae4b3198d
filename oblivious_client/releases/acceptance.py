"""Which releases will do at a time, and whether the list is fresh enough to say so."""

from __future__ import annotations

from dataclasses import dataclass

from oblivious_client.releases.published import Entry, Published
from oblivious_client.releases.statements import Release
from oblivious_client.releases.trust import DAY_SECONDS, WARN_DAYS, Trust

CLOCK_SKEW_SECONDS = 300
"""How far this machine's clock and those of others may differ."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A release that will do, who signed it, and until when (None: it has no successor yet)."""

    release: Release
    entry: Entry
    until: int | None


def floor(published: Published) -> int:
    """Return the highest floor that enough builders have signed; it counts at once."""
    highest = 0
    for entry, release in reversed(published.releases()):
        if release.floor > highest and entry.is_signed:
            highest = release.floor
    return highest


def accepted(published: Published, now: float) -> tuple[Accepted, ...]:
    """Return the releases that will do at the Unix second `now`, newest first.

    Not below the floor; begun; and the newest that has, or not `overlap_days` after its successor
    began. What too few builders have signed is neither a release nor anybody's successor.
    """
    least = floor(published)
    found: list[Accepted] = []
    begun: dict[int, int] = {}  # the first image of each sequence that has begun
    for entry, release in reversed(published.releases()):
        later = [start for sequence, start in begun.items() if sequence > release.sequence]
        until = _end(later, published.trust)
        is_over = until is not None and now >= until
        if release.sequence < least or is_over:
            break  # and so is all that stands before it
        if release.valid_from > now + CLOCK_SKEW_SECONDS or not entry.is_signed:
            continue
        start = begun.get(release.sequence, release.valid_from)
        begun[release.sequence] = min(start, release.valid_from)
        found.append(Accepted(release, entry, until))
    return tuple(found)


def _end(later: list[int], trust: Trust) -> int | None:
    """Return when a release ends whose successors began at the times in `later`."""
    return min(later) + trust.overlap_days * DAY_SECONDS if later else None


def fresh_until(published: Published) -> int:
    """Return the Unix second at which the list is too old to be relied on."""
    return published.as_of + published.trust.fresh_days * DAY_SECONDS


def warns(published: Published, now: float) -> bool:
    """Whether the list is so old that somebody should look after it."""
    warning = min(WARN_DAYS, published.trust.fresh_days / 2) * DAY_SECONDS
    return now >= fresh_until(published) - warning


def is_ahead(published: Published, now: float) -> bool:
    """Whether the witnesses' time has not come yet by this machine's clock."""
    return published.as_of > now + CLOCK_SKEW_SECONDS


def is_stale(published: Published, now: float) -> bool:
    """Whether the list must not be relied on any more."""
    return now >= fresh_until(published)
