"""The process that asks: one probe after another, until too many in a row have no answer."""

import signal
import time
from collections import Counter
from collections.abc import Mapping
from socket import socket
from typing import Final

from host_proxy.addresses import Address
from host_proxy.exposition import Family, text
from host_proxy.listeners import Listeners
from host_proxy.log import log
from host_proxy.loop import Loop
from host_proxy.metrics import MetricsServer
from host_proxy.options import Questions
from host_proxy.probe import Outcome, Probe
from host_proxy.resolver import Resolver
from host_proxy.systemd import Notifier

UNANSWERED: Final = 3  # the exit code


class Tally:
    """What the probes have found since the start."""

    __slots__ = ("misses", "outcomes", "seconds")

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.misses = 0  # in a row, up to now
        self.seconds = 0.0  # which the last answer took

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
            self.misses, self.seconds = 0, seconds

    def as_dict(self) -> dict[str, object]:
        """Return the counts for a log line."""
        probes = {outcome.value: self.outcomes[outcome] for outcome in Outcome}
        return {"probes": probes, "misses": self.misses, "seconds": round(self.seconds, 3)}


class Watch:
    """Everything the process does between its start and its exit."""

    def __init__(
        self,
        questions: Questions,
        *,
        metrics: Address | None = None,
        passed: Mapping[str, socket] | None = None,
        notifier: Notifier | None = None,
        watchdog: float | None = None,
    ) -> None:
        self.tally = Tally()
        self._questions = questions
        self._metrics_at = metrics
        self._listeners = Listeners(passed or {})
        self._notifier = notifier or Notifier({})
        self._watchdog = watchdog
        self._loop = Loop()
        self._resolver = Resolver(self._loop)
        self._metrics: MetricsServer | None = None
        self._code = 0
        self._begun = time.monotonic()

    def open(self) -> None:
        """Listen for scrapers, or raise ListenError or AddressError."""
        if self._metrics_at is not None:
            listener = self._listeners.open(self._metrics_at)
            self._metrics = MetricsServer(self._loop, listener, self._prometheus)

    def run(self) -> int:
        """Probe until SIGTERM or SIGINT, or until nobody answers; return the exit code."""
        self._loop.on_signals(self._signalled, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        if self._watchdog is not None:
            self._loop.every(self._watchdog / 2, lambda: self._notifier.tell("WATCHDOG=1"))
        log("probing", address=str(self._questions.address))
        self._ask()
        self._loop.run()
        if self._metrics is not None:
            self._metrics.close()
        self._listeners.forget_all()
        self._loop.shut_down()
        log("stopped", **self.tally.as_dict())
        return self._code

    def _ask(self) -> None:
        asked = self._questions
        Probe(self._loop, self._resolver, asked.address, asked.patience, self._told).start()

    def _told(self, outcome: Outcome, seconds: float) -> None:
        was_missed = self.tally.misses > 0
        first = not self.tally.answered
        self.tally.add(outcome, seconds)
        if outcome is Outcome.MISSED:
            self._missed(first)
        elif first:
            log("answered", outcome=outcome.value, seconds=round(seconds, 3))
            self._notifier.tell("READY=1", "STATUS=Answers")
        elif was_missed:
            log("answers_again", outcome=outcome.value)
            self._notifier.tell("STATUS=Answers")
        self._loop.later(self._questions.pause, self._ask)

    def _missed(self, never_answered: bool) -> None:
        """Tell of a miss after an answer; end when there have been too many, or never an answer."""
        if never_answered:
            over = time.monotonic() - self._begun >= self._questions.start
        else:
            over = self.tally.misses >= self._questions.misses
            log("missed", misses=self.tally.misses)
            self._notifier.tell(f"STATUS=No answer to {self.tally.misses} probe(s)")
        if over:
            log("unanswered", **self.tally.as_dict())
            self._code = UNANSWERED
            self._loop.stop()

    def _signalled(self, number: int) -> None:
        if number == signal.SIGUSR1:
            log("counters", **self.tally.as_dict())
        else:
            self._loop.stop()

    def _prometheus(self) -> bytes:
        return text(families(self.tally))


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
