"""Answers in one piece that all end before the shortest one by default, and what they are.

Within one duration nothing tells them apart; a shorter shortest one would have several durations
for them. So here the duration counts: it is what an observer would gain.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from scripts.observer.answers import WORDS, Script
from scripts.observer.finding import Finding, verdict_rows

FIRSTS = (5, 3, 2)
"""Counts of ticks that the shortest answer is tried with, the default first."""

AT_ONCE = 8
"""Questions at a time: with more the machine would be late, and answers longer than is drawn."""

HEADING = "## The shortest answer\n"
FOLLOWING = "## The shape of an answer\n"

SECTION = """\
{heading}
An answer in one piece that is there at once waits for the end of the shortest duration. Could
that be shorter? Answers which all end before it, of which the observer may use the duration too:

{kinds}

| shortest | classifier | answers | told right | 95 % interval | above guessing |
| --- | --- | --- | --- | --- | --- |
{verdicts}

As a median the answers ended after {ends}.
"""


def refusal(chance: random.Random) -> Script:
    """A refusal by the upstream, at once."""
    return {"after": chance.uniform(0.0, 0.02), "status": 429}


def lookup(chance: random.Random) -> Script:
    """What takes an upstream 50 to 150 ms, as an embedding does."""
    return {"after": chance.uniform(0.05, 0.15), "text": "0.12, 0.57, 0.33"}


def word(chance: random.Random) -> Script:
    """One word after 150 to 250 ms."""
    return {"after": chance.uniform(0.15, 0.25), "text": "Yes."}


def sentence(chance: random.Random) -> Script:
    """A sentence after 250 to 350 ms."""
    return {"after": chance.uniform(0.25, 0.35), "text": " ".join(chance.choices(WORDS, k=12))}


KINDS: dict[str, Callable[[random.Random], Script]] = {
    "refusal": refusal,
    "lookup": lookup,
    "word": word,
    "sentence": sentence,
}


def scripts(of_each: int, chance: random.Random) -> dict[str, Script]:
    """Return `of_each` scripts of every kind, by keys "KIND/NUMBER" in a random order."""
    keys = [f"{kind}/{number}" for kind in KINDS for number in range(of_each)]
    chance.shuffle(keys)
    return {key: KINDS[key.partition("/")[0]](chance) for key in keys}


def section(findings: Sequence[Finding]) -> str:
    """Return the part of the page on it."""
    kinds = [f"- `{kind}`: {(make.__doc__ or '').rstrip('.')}" for kind, make in KINDS.items()]
    return SECTION.format(
        heading=HEADING,
        kinds=";\n".join(kinds) + ".",
        verdicts=verdict_rows(findings),
        ends=", ".join(f"{each.seconds:.2f} s ({each.padding})" for each in findings),
    )


def replaced(page: str, text: str, heading: str = HEADING) -> str:
    """Return a page whose section with a heading is `text`; ValueError if it has no place for one.

    By default that is the section on the shortest answer.
    """
    before, found, rest = page.partition(heading)
    if not found:
        before, found, rest = page.partition(FOLLOWING)
        if not found:
            raise ValueError("the page has no place for this section")
        return f"{before}{text}\n{FOLLOWING}{rest}"
    _, following, after = rest.partition("\n## ")
    return before + text + following + after
