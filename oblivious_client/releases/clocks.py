"""Second clocks: what the times of others say of this machine's."""

from __future__ import annotations

HOUR = 3600


def offset(now: float, *others: float) -> float:
    """Return by how many seconds this machine's clock is wrong, if all others say so.

    Positive where it is ahead. What they agree on is the difference of the one that differs least;
    0 where one of them agrees with this machine, or they differ from it in both directions.
    """
    differences = [now - other for other in others]
    if not differences or not (all(d > 0 for d in differences) or all(d < 0 for d in differences)):
        return 0.0
    return min(differences, key=abs)


def advice(now: float, *others: float, allowed: float) -> str:
    """Return what to do if this machine's clock is wrong by more than `allowed` seconds, or ""."""
    wrong = offset(now, *others)
    if abs(wrong) <= allowed:
        return ""
    way = "ahead" if wrong > 0 else "behind"
    return f"your clock seems to be {in_words(abs(wrong))} {way}: set it, and ask again"


def in_words(seconds: float) -> str:
    """Return a duration for people."""
    hours = round(seconds / HOUR)
    if hours < 1:
        return f"{round(seconds / 60)} minutes"
    if hours < 48:
        return f"{hours} hour{'' if hours == 1 else 's'}"
    return f"{round(hours / 24)} days"
