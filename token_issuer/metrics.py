"""What Prometheus is told: outcomes of all processes together, and sums of the ledger."""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from token_issuer.administration import issued_by_key, outstanding, undecided_payments
from token_issuer.counts_directory import VARIABLE
from token_issuer.key_files import StoredKey
from token_issuer.ledger import Ledger


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "token_issuer_requests",
            "Requests by what they were for and the status of the answer.",
            ["route", "status"],
            registry=self.registry,
        )
        self.signed = Counter(
            "token_issuer_tokens_signed",
            "Tokens signed, repetitions included.",
            ["price"],
            registry=self.registry,
        )
        self.signing_seconds = Counter(
            "token_issuer_signing_seconds",
            "Processor time of signing.",
            registry=self.registry,
        )

    def exposition(self, ledger: Ledger, keys: Callable[[], list[StoredKey]]) -> bytes:
        """Return everything in Prometheus' text format."""
        registry = self.registry
        if VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        of_ledger = CollectorRegistry()
        of_ledger.register(_LedgerCollector(ledger, keys))
        return generate_latest(registry) + generate_latest(of_ledger)


class _LedgerCollector(Collector):
    """Reads the ledger when Prometheus asks."""

    def __init__(self, ledger: Ledger, keys: Callable[[], list[StoredKey]]) -> None:
        self._ledger = ledger
        self._keys = keys

    def collect(self) -> Iterator[Metric]:
        balance = GaugeMetricFamily(
            "token_issuer_outstanding_units", "Units of all balances together."
        )
        balance.add_metric([], outstanding(self._ledger))
        yield balance
        undecided = GaugeMetricFamily(
            "token_issuer_undecided_payments",
            "Payments by x402 of which it is not known whether they were made.",
        )
        undecided.add_metric([], undecided_payments(self._ledger))
        yield undecided
        issued = GaugeMetricFamily(
            "token_issuer_tokens_issued",
            "Tokens sold of each key: the crowd that a token of it is in.",
            labels=["price", "issue_from"],
        )
        counts = issued_by_key(self._ledger)
        for stored in self._keys():
            issued.add_metric(_labels(stored), _count(counts, stored))
        yield issued


def _labels(stored: StoredKey) -> list[str]:
    begin = datetime.fromtimestamp(stored.entry.epoch.issue_from, UTC)
    return [str(stored.entry.price), begin.strftime("%Y-%m-%dT%H:%M:%SZ")]


def _count(counts: Mapping[str, int], stored: StoredKey) -> int:
    return counts.get(stored.entry.key.key_id.hex(), 0)
