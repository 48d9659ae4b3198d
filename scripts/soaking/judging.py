"""What became of each question, and what that says about the path that it went.

All times are of one monotonic clock, in seconds.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scripts.soaking import sentences

MOST_LOST_SHARE = 0.01  # of what was asked outside of planned outages


class Outcome(enum.Enum):
    """How a question ended."""

    RIGHT = "right"
    REFUSED = "refused as it should be"
    LEFT = "left by its asker"
    FAILED = "failed with an error"
    WRONG = "wrong"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question and its end; `said` is what its asker was told of a failure.

    `status` is that of a refusal. `is_counted` says that its upstream counts arrivals,
    `is_advised` that the client has to say what to do.
    """

    kind: str
    mark: str
    begun: float
    ended: float
    outcome: Outcome
    status: int = 0
    said: str = ""
    is_counted: bool = True
    is_advised: bool = True


@dataclass(frozen=True, slots=True)
class Outage:
    """A planned one: the fault, the end of the part that it hit, and the next right answer.

    Of an upstream's outage `over` is its return. `limit` is for the time between the last two.
    """

    fault: str
    begun: float
    over: float
    right: float
    limit: float

    @property
    def seconds(self) -> float:
        """From the end of the part to the next right answer."""
        return self.right - self.over

    def touches(self, ask: Ask) -> bool:
        """Whether it may be to blame for what became of a question."""
        return ask.begun <= self.right and ask.ended >= self.begun


@dataclass(slots=True)
class Verdict:
    """What was found."""

    asked: int
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    by_kind: dict[str, Counter[Outcome]] = field(default_factory=dict)
    refusals: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    outside: int = 0
    failed_outside: list[Ask] = field(default_factory=list)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    misadvised: list[Ask] = field(default_factory=list)
    wrong: list[Ask] = field(default_factory=list)
    silent: list[Ask] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    late: list[Outage] = field(default_factory=list)

    @property
    def share_right(self) -> float:
        """Of what was asked outside of outages, the share that ended as it should."""
        bad = len(self.wrong) + len(self.silent) + len(self.failed_outside)
        return 1 - min(1.0, bad / max(1, self.outside))

    def breaches(self) -> list[str]:
        """Return a sentence for each limit that was not kept."""
        counted = {
            "wrong": len(self.wrong),
            "silent": len(self.silent),
            "doubled": len(self.doubled),
            "lost": self.lost,
            "told the wrong thing to do": len(self.misadvised),
            "outages that lasted too long": len(self.late),
        }
        found = [f"{name}: {count}" for name, count in counted.items() if count]
        if self.share_right < 1 - MOST_LOST_SHARE:
            found.append(f"right outside of planned outages: {self.share_right:.2%}")
        return found


def judge(
    asked: int, asks: Sequence[Ask], outages: Sequence[Outage], arrivals: Iterable[str]
) -> Verdict:
    """Return what became of `asked` questions, of which `asks` have ended.

    `arrivals` are the marks of the questions that reached the upstream, each as often as it did.
    """
    arrived = Counter(arrivals)
    verdict = Verdict(asked, lost=asked - len(asks))
    verdict.doubled = sorted(mark for mark, count in arrived.items() if count > 1)
    verdict.late = [each for each in outages if each.seconds > each.limit]
    for ask in asks:
        _weigh(verdict, ask, [each.fault for each in outages if each.touches(ask)], arrived)
    return verdict


def _weigh(verdict: Verdict, ask: Ask, faults: list[str], arrived: Mapping[str, int]) -> None:
    outcome = ask.outcome if _is_borne_out(ask, arrived) else Outcome.WRONG
    verdict.outcomes[outcome] += 1
    verdict.by_kind.setdefault(ask.kind, Counter())[outcome] += 1
    verdict.outside += not faults
    if ask.status and outcome in (Outcome.REFUSED, Outcome.RIGHT):  # the latter of a replay
        verdict.refusals[ask.status] += 1
    if outcome is Outcome.WRONG:
        verdict.wrong.append(ask)
    elif outcome is Outcome.SILENT:
        verdict.silent.append(ask)
    elif outcome is Outcome.FAILED:
        _weigh_failure(verdict, ask, faults)


def _weigh_failure(verdict: Verdict, ask: Ask, faults: list[str]) -> None:
    verdict.failures[" + ".join(faults) or "none", ask.said] += 1
    if not faults:
        verdict.failed_outside.append(ask)
    if ask.is_advised and not sentences.is_right(ask.said, faults):
        verdict.misadvised.append(ask)


def _is_borne_out(ask: Ask, arrived: Mapping[str, int]) -> bool:
    """Whether the upstream saw what it must have: an answer's question, and no refused one."""
    if not ask.is_counted:
        return True
    if ask.outcome is Outcome.RIGHT:
        return arrived.get(ask.mark, 0) > 0
    return ask.outcome is not Outcome.REFUSED or ask.mark not in arrived
