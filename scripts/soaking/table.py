"""The table at a soak's end, and the limits that it is held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from host_proxy.pipes import SPARE_PIPES
from scripts.soaking.judging import Ask, Outage, Outcome, Verdict
from scripts.soaking.measures import Growth, Measure, cpu_total, growths

MOST_GROWTH = 0.05
# What a process loads and keeps when it is first asked is there by then.
SETTLED_SECONDS = 240.0
LEAST_SECONDS = 240.0  # of a life after that, below which its growth is not judged
SHOWN = 12  # lines of one list
MOST_SHOWN = 2  # processes of one role, by themselves
TABLE_KIB = 32 * 1024
FILLED_KIB = TABLE_KIB * 85 // 100  # after about 8,000 questions
# Descriptors that are kept for the next time: as many as there are, whatever the load was.
SPARE = {"host proxy": 2 * SPARE_PIPES}


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one run has shown; `idle` is before the load and after it."""

    verdict: Verdict
    outages: Sequence[Outage]
    samples: Sequence[Measure]
    idle: Sequence[Sequence[Measure]]
    canaries: Sequence[str]
    began: float
    seconds: float
    asker_cpu: float = 0.0

    def breaches(self) -> list[str]:
        """Return a sentence for each limit that was not kept."""
        found = self.verdict.breaches()
        found += [f"a question's text is in a {place}" for place in self.canaries]
        found += [f"{each} than before the load" for each in more_than(*self.idle)]
        for each in self.growths():
            if each.share > MOST_GROWTH:
                found.append(f"memory of the {each.role} {each.pid} grew by {each.share:.1%}")
        return found

    def growths(self) -> list[Growth]:
        """Return what settled processes grew by."""
        return growths(self.samples, SETTLED_SECONDS, LEAST_SECONDS, FILLED_KIB)

    @property
    def core(self) -> float:
        """The share of a core that all parts took together."""
        used = cpu_total(self.samples) - cpu_total(self.idle[0])
        return used / self.seconds

    def text(self) -> str:
        """Return the table."""
        parts = (
            self._questions(),
            self._kinds(),
            self._failures(),
            self._outages(),
            self._processes(),
            self._memory(),
            self._ending(),
        )
        return "\n".join(line for part in parts for line in (*part, ""))

    def _questions(self) -> Iterator[str]:
        verdict = self.verdict
        outcomes = verdict.outcomes
        inside = outcomes[Outcome.FAILED] - len(verdict.failed_outside)
        time = f"{self.seconds / 60:.1f} min, {verdict.asked / self.seconds:.1f} a second"
        yield f"asked          {verdict.asked:>8}  in {time}"
        yield f"answered right {outcomes[Outcome.RIGHT]:>8}"
        yield f"refused        {outcomes[Outcome.REFUSED]:>8}  as it should be"
        yield f"with status              {_refusals(verdict)}"
        yield f"left           {outcomes[Outcome.LEFT]:>8}  by their askers"
        yield f"failed         {inside:>8}  in planned outages"
        yield f"failed         {len(verdict.failed_outside):>8}  outside of them"
        for name, found in _faulty(verdict):
            yield f"{name:<14} {found:>8}"
        share = verdict.share_right
        yield f"right outside  {share:>8.2%}  of {verdict.outside} outside of planned outages"
        askers = self.asker_cpu / self.seconds
        yield f"cores used     {self.core:>8.2f}  by the parts, {askers:.2f} by the askers"

    def _kinds(self) -> Iterator[str]:
        yield f"{'kind':<18}" + "".join(f"{each.name.lower():>9}" for each in Outcome)
        for kind, counts in sorted(self.verdict.by_kind.items()):
            yield f"{kind:<18}" + "".join(f"{counts[each]:>9}" for each in Outcome)

    def _failures(self) -> Iterator[str]:
        yield "what was said of failures, by the faults of that time"
        for (faults, said), count in self.verdict.failures.most_common():
            yield f"{count:>6}  {faults}: {said}"
        faulty = {
            "outside": self.verdict.failed_outside,
            "wrong": self.verdict.wrong,
            "silent": self.verdict.silent,
            "wrong advice": self.verdict.misadvised,
        }
        for name, asks in faulty.items():
            yield from (self._line(name, ask) for ask in asks[:SHOWN])

    def _line(self, name: str, ask: Ask) -> str:
        begun, ended = ask.begun - self.began, ask.ended - self.began
        return f"  {name}: {ask.kind} {ask.mark}, {begun:.2f} to {ended:.2f} s: {ask.said[:200]}"

    def _outages(self) -> Iterator[str]:
        yield f"{'fault':<16}{'times':>6}{'median s':>10}{'worst s':>9}{'limit s':>9}{'noticed':>9}"
        for name in dict.fromkeys(each.fault for each in self.outages):
            those = [each for each in self.outages if each.fault == name]
            took = [each.seconds for each in those]
            noticed = max(each.over - each.begun for each in those)
            told = f"{noticed:.1f} s" if noticed > 1 else "-"
            yield (
                f"{name:<16}{len(those):>6}{median(took):>10.2f}{max(took):>9.2f}"
                f"{those[0].limit:>9.0f}{told:>9}"
            )

    def _processes(self) -> Iterator[str]:
        shown = {
            "start": _at(self.samples, 0.02),
            "middle": _at(self.samples, 0.5),
            "end": _at(self.samples, 1),
        }
        yield f"{'own memory, MiB':<22}" + "".join(f"{name:>16}" for name in shown)
        for role in dict.fromkeys(each.role for each in self.samples):
            yield f"{role:<22}" + "".join(f"{_sizes(at, role):>16}" for at in shown.values())
        before, after = self.idle
        yield f"{'descriptors, threads':<22}{'before':>16}{'after':>16}"
        for role in dict.fromkeys(each.role for each in before):
            yield f"{role:<22}{_counts(before, role):>16}{_counts(after, role):>16}"

    def _memory(self) -> Iterator[str]:
        yield f"{'settled processes':<22}{'from s':>8}{'for s':>8}{'MiB':>8}{'MiB':>8}{'change':>9}"
        settled = self.growths()
        for each in settled:
            sizes = f"{each.first_kib / 1024:>8.1f}{each.last_kib / 1024:>8.1f}"
            yield (
                f"{each.role:<22}{each.since:>8.0f}{each.seconds:>8.0f}{sizes}{each.share:>+9.1%}"
            )
        filled = max((each.shared_kib for each in self.samples if each.role == "worker"), default=0)
        yield f"table against replays: {filled / 1024:.1f} MiB touched, of {TABLE_KIB / 1024:.0f}"

        if not any(each.role == "worker" for each in settled):
            yield "no worker saw enough for its memory to be judged"

    def _ending(self) -> Iterator[str]:
        breaches = self.breaches()
        yield from (f"NOT KEPT: {each}" for each in breaches)
        if not breaches:
            yield "all limits were kept"

    def _curves(self) -> dict[str, list[tuple[int, int]]]:
        """Return the memory of each process at each second that it was looked at."""
        curves: dict[str, list[tuple[int, int]]] = {}
        for each in self.samples:
            at = round(each.at - self.began)
            curves.setdefault(f"{each.role} {each.pid}", []).append((at, each.own_kib))
        return curves

    def as_json(self) -> dict[str, object]:
        """Return the figures."""
        verdict = self.verdict
        return {
            "minutes": self.seconds / 60,
            "asked": verdict.asked,
            "outcomes": {each.name.lower(): verdict.outcomes[each] for each in Outcome},
            "refusals": {str(status): count for status, count in verdict.refusals.items()},
            **dict(_faulty(verdict)),
            "failed_outside": len(verdict.failed_outside),
            "share_right_outside": verdict.share_right,
            "cores": {"parts": self.core, "askers": self.asker_cpu / self.seconds},
            "failures": [
                {"faults": faults, "said": said, "count": count}
                for (faults, said), count in verdict.failures.most_common()
            ],
            "outages": [
                {"fault": each.fault, "at": each.begun - self.began, "seconds": each.seconds}
                for each in self.outages
            ],
            "growths": [{"role": each.role, "share": each.share} for each in self.growths()],
            "own_kib": self._curves(),
            "canaries": list(self.canaries),
            "breaches": self.breaches(),
        }


def more_than(before: Iterable[Measure], after: Iterable[Measure]) -> list[str]:
    """Return of which roles there are more descriptors or threads than there were, or processes."""
    was, now = _peaks(before), _peaks(after)
    found = []
    for role, (processes, descriptors, threads) in now.items():
        if role not in was:
            continue
        for name, old, new in zip(
            ("processes", "descriptors", "threads"),
            was[role],
            (processes, descriptors, threads),
            strict=True,
        ):
            if new > old + SPARE.get(role, 0):
                found.append(f"{role}: {new - old} more {name}")
    return found


def _peaks(measures: Iterable[Measure]) -> dict[str, tuple[int, int, int]]:
    """Return, for each role, how many processes it has and the most that one of them holds."""
    roles: dict[str, list[Measure]] = {}
    for each in measures:
        roles.setdefault(each.role, []).append(each)
    return {
        role: (
            len(those),
            max(each.descriptors for each in those),
            max(each.threads for each in those),
        )
        for role, those in roles.items()
    }


def _faulty(verdict: Verdict) -> Iterator[tuple[str, int]]:
    yield "lost", verdict.lost
    yield "doubled", len(verdict.doubled)
    yield "wrong", len(verdict.wrong)
    yield "silent", len(verdict.silent)
    yield "wrong advice", len(verdict.misadvised)


def _refusals(verdict: Verdict) -> str:
    ordered = sorted(Counter(verdict.refusals).items())
    return ", ".join(f"{status} {count} times" for status, count in ordered) or "none"


def _at(samples: Sequence[Measure], share: float) -> list[Measure]:
    """Return the look at all processes that was taken after that share of the time."""
    moments = sorted({each.at for each in samples})
    moment = moments[round(share * (len(moments) - 1))]
    return [each for each in samples if each.at == moment]


def _sizes(measures: Iterable[Measure], role: str) -> str:
    return _short([f"{each.own_kib / 1024:.1f}" for each in measures if each.role == role], ", ")


def _counts(measures: Iterable[Measure], role: str) -> str:
    those = [each for each in measures if each.role == role]
    return _short([f"{each.descriptors}, {each.threads}" for each in those], "; ")


def _short(texts: Sequence[str], between: str) -> str:
    """Return one text for each process, or of many how many there are and the first's."""
    if len(texts) > MOST_SHOWN:
        return f"{len(texts)} of {texts[0]}"
    return between.join(texts) or "-"
