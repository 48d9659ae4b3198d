"""What the process beside HAProxy has counted: numbers and states, nothing of any request."""

from collections import Counter
from collections.abc import Mapping

from host_proxy.exposition import Family
from host_proxy.haproxy import Overview
from host_proxy.places import Alarm, Company, Plan, Standing


class Figures:
    """The counts since the start, and what the last round has found."""

    __slots__ = (
        "alarms",
        "changes",
        "company",
        "failed_rounds",
        "misdirected",
        "places",
        "rounds",
        "silences",
        "standings",
        "unknown",
    )

    def __init__(self) -> None:
        self.alarms: set[Alarm] = set()
        self.changes: Counter[str] = Counter()
        self.company = Company()
        self.rounds = 0
        self.failed_rounds = 0
        self.silences = 0
        self.places = 0
        self.standings: Mapping[str, Standing] = {}
        self.unknown = 0
        self.misdirected = 0

    def take(self, decided: Plan, overview: Overview) -> None:
        """Note what a round has found."""
        self.places = len(decided.places)
        self.standings = decided.standings
        self.unknown = overview.unknown
        self.misdirected = overview.misdirected
        self.company = decided.company

    def as_dict(self) -> dict[str, object]:
        """Return the counts for a log line."""
        return {
            "rounds": self.rounds,
            "failed_rounds": self.failed_rounds,
            "silences": self.silences,
            "members": {name: standing.value for name, standing in self.standings.items()},
            "places": self.places,
            "map_changes": dict(self.changes),
            "unknown": self.unknown,
            "misdirected": self.misdirected,
            "cluster_members": self.company.members,
            "cluster_turns": self.company.turns,
            "unowned": self.company.unowned,
            "alarms": sorted(alarm.value for alarm in self.alarms),
        }


def families(figures: Figures) -> list[Family]:
    """Return the counts as Prometheus' metrics."""
    standings = Counter(figures.standings.values())
    return [
        Family(
            "host_proxy_front_members",
            "gauge",
            "Enclaves behind the front, by what they are at the moment.",
            [({"standing": each.value}, standings[each]) for each in Standing],
        ),
        Family(
            "host_proxy_front_places",
            "gauge",
            "Key identifiers, or their slots, that lead to an enclave.",
            [({}, figures.places)],
        ),
        Family(
            "host_proxy_front_cluster_members",
            "gauge",
            "Enclaves of the announced cluster that all its members know to be alive; 0 without.",
            [({}, figures.company.members)],
        ),
        Family(
            "host_proxy_front_cluster_turns",
            "gauge",
            "Generations of keys that the announced cluster has made since its first enclave.",
            [({}, figures.company.turns)],
        ),
        Family(
            "host_proxy_front_unowned_slots",
            "gauge",
            "Slots of the announced cluster's newest key that nobody owns.",
            [({}, figures.company.unowned)],
        ),
        Family(
            "host_proxy_front_map_changes_total",
            "counter",
            "Changes of HAProxy's map, by kind.",
            [({"change": kind}, figures.changes[kind]) for kind in ("add", "set", "del")],
        ),
        Family(
            "host_proxy_front_unknown_total",
            "counter",
            "Sealed requests whose key nobody has, answered 422 by the front.",
            [({}, figures.unknown)],
        ),
        Family(
            "host_proxy_front_misdirected_total",
            "counter",
            "Sealed requests that came to an enclave which may not open them, answered 421 by it.",
            [({}, figures.misdirected)],
        ),
        Family(
            "host_proxy_front_silences_total",
            "counter",
            "Questions to an enclave that it did not answer as it should.",
            [({}, figures.silences)],
        ),
        Family(
            "host_proxy_front_rounds_total",
            "counter",
            "Rounds, by whether HAProxy answered as it should.",
            [
                ({"outcome": "done"}, figures.rounds),
                ({"outcome": "failed"}, figures.failed_rounds),
            ],
        ),
        Family(
            "host_proxy_front_alarm",
            "gauge",
            "1 for what somebody should look at.",
            [({"alarm": each.value}, int(each in figures.alarms)) for each in Alarm],
        ),
    ]
