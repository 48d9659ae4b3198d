"""What is counted: numbers only, nothing that was carried and nobody's address."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Literal

from host_proxy.carrying import Ending
from host_proxy.dialing import Failure
from host_proxy.exposition import Family, Sample, text

UPWARD: Final = "to_upstream"
DOWNWARD: Final = "to_client"


class RouteCounters:
    """The counts of one route, since the start."""

    __slots__ = (
        "accepted",
        "active",
        "carried",
        "endings",
        "failures",
        "held",
        "name",
        "refused",
        "starved",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.accepted = 0
        self.active = 0
        self.held = False  # new clients are left to wait
        self.refused = 0  # closed at once, being above the connection cap
        self.starved = 0  # times that accepting paused, there being no descriptor
        self.endings: Counter[Ending] = Counter()
        self.failures: Counter[Failure] = Counter()
        self.carried: Counter[str] = Counter()

    def as_dict(self) -> dict[str, object]:
        """Return the counts for a log line."""
        return {
            "route": self.name,
            "accepted": self.accepted,
            "active": self.active,
            "held": self.held,
            "refused": self.refused,
            "starved": self.starved,
            "ended": {ending.value: self.endings[ending] for ending in Ending},
            "dial_failures": {failure.value: self.failures[failure] for failure in Failure},
            "bytes": {way: self.carried[way] for way in (UPWARD, DOWNWARD)},
        }


def prometheus_text(routes: Iterable[RouteCounters]) -> bytes:
    """Return the counts as Prometheus' metrics, each with the label `route`."""
    listed = list(routes)
    return text(
        Family(name, kind, meaning, [_labelled(r, s) for r in listed for s in samples(r)])
        for name, kind, meaning, samples in _METRICS
    )


def _labelled(route: RouteCounters, sample: Sample) -> Sample:
    labels, value = sample
    return {"route": route.name, **labels}, value


Samples = Callable[[RouteCounters], list[Sample]]
Metric = tuple[str, Literal["counter", "gauge"], str, Samples]  # name, kind, meaning

_METRICS: Final[tuple[Metric, ...]] = (
    (
        "host_proxy_connections_accepted_total",
        "counter",
        "Connections accepted.",
        lambda route: [({}, route.accepted)],
    ),
    (
        "host_proxy_connections_active",
        "gauge",
        "Connections open or being connected.",
        lambda route: [({}, route.active)],
    ),
    (
        "host_proxy_connections_refused_total",
        "counter",
        "Connections closed at once, being above the cap.",
        lambda route: [({}, route.refused)],
    ),
    (
        "host_proxy_held",
        "gauge",
        "1 while new clients are left to wait before a planned restart.",
        lambda route: [({}, int(route.held))],
    ),
    (
        "host_proxy_descriptor_shortages_total",
        "counter",
        "Times that accepting paused for want of a descriptor.",
        lambda route: [({}, route.starved)],
    ),
    (
        "host_proxy_connections_ended_total",
        "counter",
        "Connections ended, by how.",
        lambda route: [({"ending": e.value}, route.endings[e]) for e in Ending],
    ),
    (
        "host_proxy_dial_failures_total",
        "counter",
        "Failed attempts to reach the upstream, by why.",
        lambda route: [({"failure": f.value}, route.failures[f]) for f in Failure],
    ),
    (
        "host_proxy_carried_bytes_total",
        "counter",
        "Bytes carried, by direction.",
        lambda route: [({"direction": way}, route.carried[way]) for way in (UPWARD, DOWNWARD)],
    ),
)
