"""What became of each token, and whether that is what was promised.

Every token that was ever issued is offered once more when all leases are over. What has to come of
that follows from what happened to it:

- It never left its wallet, or went with a question whose answer never began: it is taken. Unless
  its asker was killed while he waited: who hangs up has spent his token.
- Its answer came: it is refused as spent. Unless what says so was lost: commits go to the store
  every 30 s (`flush`), and what the store has, it writes to its file within a second. A worker that
  is killed before its commits went, or a store that is killed in the second after, lets a token be
  spent again, to the operator's loss. Both times are known here to the moment.
- Its answer began, and did not come whole: both are right.
"""

from __future__ import annotations

import enum
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from enclave_server.payment.settling import FLUSH_SECONDS, RETRY_SECONDS
from scripts.soaking.paid_path import REDIS, Kill

WRITTEN_SECONDS = 2.0
"""For which Redis may have what is in none of its files: `everysec` delays by as much."""

SLACK_SECONDS = 1.0
"""Of times that were taken in different processes."""


class Fate(enum.Enum):
    """What happened to a token while parts were killed."""

    FRESH = "never left its wallet"
    UNBEGUN = "its answer never began"
    HUNG_UP = "its asker was killed before the answer came"
    CUT = "its answer began and did not come whole"
    ANSWERED = "answered"
    UNCOMMITTED = "answered, and a kill took the commit"


class Offer(enum.Enum):
    """What came of offering it again."""

    TAKEN = "taken"
    SPENT = "refused as spent"
    OTHER = "neither"


ALLOWED: Mapping[Fate, frozenset[Offer]] = {
    Fate.FRESH: frozenset({Offer.TAKEN}),
    Fate.UNBEGUN: frozenset({Offer.TAKEN}),
    Fate.HUNG_UP: frozenset({Offer.TAKEN, Offer.SPENT}),
    Fate.CUT: frozenset({Offer.TAKEN, Offer.SPENT}),
    Fate.ANSWERED: frozenset({Offer.SPENT}),
    Fate.UNCOMMITTED: frozenset({Offer.TAKEN, Offer.SPENT}),
}


@dataclass(frozen=True, slots=True)
class Began:
    """When an answer began, and in which worker."""

    worker: int
    at: float


@dataclass(slots=True)
class Travels:
    """What journals and upstream noted, by the marks of questions."""

    took: dict[str, list[str]] = field(default_factory=dict)
    """The marks of the questions that each token went with."""
    ended: dict[str, str] = field(default_factory=dict)
    """How each question ended for its asker."""
    began: dict[str, Began] = field(default_factory=dict)
    last_token: dict[str, str] = field(default_factory=dict)
    """The token that a question went with at last: those before it were refused."""

    def read_journal(self, lines: Iterable[bytes]) -> None:
        """Take in a payer's journal."""
        for line in lines:
            noted = json.loads(line)
            if noted["event"] == "took":
                self.took.setdefault(noted["token"], []).append(noted["mark"])
                self.last_token[noted["mark"]] = noted["token"]
            elif noted["mark"]:
                self.ended[noted["mark"]] = noted["event"]

    def read_notes(self, lines: Iterable[str]) -> None:
        """Take in the upstream's notes."""
        for line in lines:
            what, mark, worker, at = line.split()
            if what == "began":
                self.began[mark] = Began(int(worker), float(at))


def fate(token: str, travels: Travels, kills: Sequence[Kill]) -> Fate:
    """Return what happened to a token."""
    marks = travels.took.get(token, [])
    own = [mark for mark in marks if travels.last_token[mark] == token]
    answered = [mark for mark in own if travels.ended.get(mark) == "answered"]
    if answered:
        begun = travels.began[answered[0]]
        return Fate.UNCOMMITTED if is_commit_lost(begun, kills) else Fate.ANSWERED
    if any(mark not in travels.ended for mark in own):
        return Fate.HUNG_UP
    if any(mark in travels.began for mark in own):
        return Fate.CUT
    return Fate.UNBEGUN if marks else Fate.FRESH


def is_commit_lost(begun: Began, kills: Sequence[Kill]) -> bool:
    """Tell whether a kill may have kept a commit from the store, or from the store's file.

    Of an answer that began just before a flush the commit may have come to be just after it.
    """
    flushes = {math.floor((begun.at + late) / FLUSH_SECONDS) + 1 for late in (0.0, SLACK_SECONDS)}
    return any(_is_lost(begun, flush * FLUSH_SECONDS, kills) for flush in flushes)


def _is_lost(begun: Began, due: float, kills: Sequence[Kill]) -> bool:
    told = due
    for kill in sorted(kills, key=lambda each: each.at):
        if kill.part == REDIS and kill.at - SLACK_SECONDS <= told < kill.back:
            told = kill.back + RETRY_SECONDS  # it was away, and is told again
    told += SLACK_SECONDS
    if any(begun.worker in kill.workers and begun.at <= kill.at <= told for kill in kills):
        return True
    return any(kill.part == REDIS and due <= kill.at <= told + WRITTEN_SECONDS for kill in kills)


def history(token: str, travels: Travels, kills: Sequence[Kill]) -> str:
    """Return when the answer to a token began, and the kills that could have had to do with it."""
    begun = [travels.began[mark] for mark in travels.took.get(token, []) if mark in travels.began]
    lines = [
        f"began in worker {each.worker} at {each.at:.2f}, "
        f"{each.at % FLUSH_SECONDS:.2f} s after a flush"
        for each in begun
    ]
    near = [
        f"{kill.part} {kill.workers or ''} killed at {kill.at:.2f}, back at {kill.back:.2f}"
        for kill in kills
        if any(0 <= kill.at - each.at <= 2 * FLUSH_SECONDS for each in begun)
    ]
    return "; ".join(lines + near)


@dataclass(slots=True)
class Tally:
    """How many tokens had which fate and what came of offering them again."""

    counts: Counter[tuple[Fate, Offer]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """How many questions each token was answered for while parts were killed."""

    def add(self, of: Fate, offered: Offer) -> None:
        """Count a token."""
        self.counts[of, offered] += 1

    def breaches(self) -> list[str]:
        """Return what was not kept, a sentence each."""
        found = [
            f"{count} tokens ({of.value}) were {offered.value} when they were offered again"
            for (of, offered), count in self.counts.items()
            if offered not in ALLOWED[of]
        ]
        twice = sum(count > 1 for count in self.answers.values())
        return [*found, *([f"{twice} tokens were answered twice under load"] if twice else [])]

    def text(self) -> str:
        """Return the table."""
        head = f"{'token':<46}" + "".join(f"{offer.value:>18}" for offer in Offer)
        rows = [
            f"{of.value:<46}" + "".join(f"{self.counts[of, offer]:>18}" for offer in Offer)
            for of in Fate
        ]
        return "\n".join([head, *rows])
