"""What is counted: numbers only, nothing that was carried and nobody's address."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from host_proxy.carrying import Ending
from host_proxy.dialing import Failure

UPWARD: Final = "to_upstream"
DOWNWARD: Final = "to_client"


Samples = list[tuple[str, int]]  # further labels, value


class RouteCounters:
    """The counts of one route, since the start."""

    __slots__ = ("accepted", "active", "carried", "endings", "failures", "name", "refused")

    def __init__(self, name: str) -> None:
        self.name = name
        self.accepted = 0
        self.active = 0
        self.refused = 0  # closed at once, being above the connection cap
        self.endings: Counter[Ending] = Counter()
        self.failures: Counter[Failure] = Counter()
        self.carried: Counter[str] = Counter()

    def as_dict(self) -> dict[str, object]:
        """Return the counts for a log line."""
        return {
            "route": self.name,
            "accepted": self.accepted,
            "active": self.active,
            "refused": self.refused,
            "ended": {ending.value: self.endings[ending] for ending in Ending},
            "dial_failures": {failure.value: self.failures[failure] for failure in Failure},
            "bytes": {way: self.carried[way] for way in (UPWARD, DOWNWARD)},
        }


def prometheus_text(routes: Iterable[RouteCounters]) -> bytes:
    """Return the counts in Prometheus' text format, version 0.0.4."""
    listed = list(routes)
    lines: list[str] = []
    for metric, kind, meaning, samples in _METRICS:
        lines += (f"# HELP {metric} {meaning}", f"# TYPE {metric} {kind}")
        for route in listed:
            for labels, value in samples(route):
                lines.append(f"{metric}{{route={_quoted(route.name)}{labels}}} {value}")
    return "".join(line + "\n" for line in lines).encode()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


Metric = tuple[str, str, str, Callable[[RouteCounters], Samples]]  # name, kind, meaning, samples

_METRICS: Final[tuple[Metric, ...]] = (
    (
        "host_proxy_connections_accepted_total",
        "counter",
        "Connections accepted.",
        lambda route: [("", route.accepted)],
    ),
    (
        "host_proxy_connections_active",
        "gauge",
        "Connections open or being connected.",
        lambda route: [("", route.active)],
    ),
    (
        "host_proxy_connections_refused_total",
        "counter",
        "Connections closed at once, being above the cap.",
        lambda route: [("", route.refused)],
    ),
    (
        "host_proxy_connections_ended_total",
        "counter",
        "Connections ended, by how.",
        lambda route: [(f',ending="{e.value}"', route.endings[e]) for e in Ending],
    ),
    (
        "host_proxy_dial_failures_total",
        "counter",
        "Failed attempts to reach the upstream, by why.",
        lambda route: [(f',failure="{f.value}"', route.failures[f]) for f in Failure],
    ),
    (
        "host_proxy_carried_bytes_total",
        "counter",
        "Bytes carried, by direction.",
        lambda route: [(f',direction="{way}"', route.carried[way]) for way in (UPWARD, DOWNWARD)],
    ),
)
