"""The process that asks: one probe after another, until too many in a row have no answer."""

import time
from collections import Counter
from typing import Final

from host_proxy.exposition import Family, text
from host_proxy.log import log
from host_proxy.options import Questions
from host_proxy.probe import Outcome, Probe
from host_proxy.service import Service

UNANSWERED: Final = 3  # the exit code


class Tally:
    """What the probes have found since the start."""

    __slots__ = ("misses", "outcomes", "seconds")

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.misses = 0  # in a row, up to now
        self.seconds = 0.0  # which the last answer took, to the millisecond

    @property
    def answered(self) -> bool:
        """Whether there has been any answer yet."""
        return self.outcomes.total() > self.outcomes[Outcome.MISSED]

    def add(self, outcome: Outcome, seconds: float) -> None:
        """Count one probe."""
        self.outcomes[outcome] += 1
        if outcome is Outcome.MISSED:
            self.misses += 1
        else:
            self.misses, self.seconds = 0, round(seconds, 3)

    def as_dict(self) -> dict[str, object]:
        """Return the counts for a log line."""
        probes = {outcome.value: self.outcomes[outcome] for outcome in Outcome}
        return {"probes": probes, "misses": self.misses, "seconds": self.seconds}


class Watch:
    """Everything the process does between its start and its exit."""

    def __init__(self, questions: Questions, service: Service) -> None:
        self.tally = Tally()
        self._questions = questions
        self._service = service
        self._loop = service.loop
        self._code = 0
        self._begun = time.monotonic()

    def open(self) -> None:
        """Listen for scrapers, or raise ListenError or AddressError."""
        self._service.open(lambda: text(families(self.tally)))

    def run(self) -> int:
        """Probe until SIGTERM or SIGINT, or until nobody answers; return the exit code."""
        self._service.run(self._start, self.tally.as_dict)
        return self._code

    def _start(self) -> None:
        log("probing", address=str(self._questions.address))
        self._ask()

    def _ask(self) -> None:
        asked = self._questions
        Probe(self._loop, self._service.resolver, asked.address, asked.patience, self._told).start()

    def _told(self, outcome: Outcome, seconds: float) -> None:
        was_missed = self.tally.misses > 0
        first = not self.tally.answered
        self.tally.add(outcome, seconds)
        if outcome is Outcome.MISSED:
            self._missed(first)
        elif first:
            log("answered", outcome=outcome.value, seconds=self.tally.seconds)
            self._service.notifier.tell("READY=1", "STATUS=Answers")
        elif was_missed:
            log("answers_again", outcome=outcome.value)
            self._service.notifier.tell("STATUS=Answers")
        self._loop.later(self._questions.pause, self._ask)

    def _missed(self, never_answered: bool) -> None:
        """Tell of a miss after an answer; end when there have been too many, or never an answer."""
        if never_answered:
            over = time.monotonic() - self._begun >= self._questions.start
        else:
            over = self.tally.misses >= self._questions.misses
            log("missed", misses=self.tally.misses)
            self._service.notifier.tell(f"STATUS=No answer to {self.tally.misses} probe(s)")
        if over:
            log("unanswered", **self.tally.as_dict())
            self._code = UNANSWERED
            self._loop.stop()


def families(tally: Tally) -> list[Family]:
    """Return what the probes have found as Prometheus' metrics."""
    return [
        Family(
            "host_proxy_probes_total",
            "counter",
            "Probes of the upstream, by what came of them.",
            [({"outcome": outcome.value}, tally.outcomes[outcome]) for outcome in Outcome],
        ),
        Family(
            "host_proxy_probe_consecutive_misses",
            "gauge",
            "Probes in a row without an answer, up to now.",
            [({}, tally.misses)],
        ),
        Family(
            "host_proxy_probe_seconds",
            "gauge",
            "Seconds that the last answer to a probe took.",
            [({}, tally.seconds)],
        ),
    ]
