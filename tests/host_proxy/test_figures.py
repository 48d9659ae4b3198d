"""What the process beside HAProxy tells scrapers and the log."""

from host_proxy.exposition import text
from host_proxy.figures import Figures, families
from host_proxy.haproxy import Overview
from host_proxy.places import Alarm, Company, Plan, Standing


def figures() -> Figures:
    counted = Figures()
    standings = {"a": Standing.ANNOUNCED, "b": Standing.ANNOUNCED, "c": Standing.LOST}
    plan = Plan({"01": "a", "02": "b"}, {}, standings, frozenset(), Company(3, 4, 7))
    counted.take(plan, Overview((), "#1", 3, 4))
    counted.changes.update(("add", "add", "del"))
    counted.rounds, counted.failed_rounds, counted.silences = 5, 6, 8
    counted.alarms.add(Alarm.SPLIT)
    return counted


def test_scrapers_are_told_numbers() -> None:
    lines = text(families(figures())).decode().splitlines()
    for line in (
        'host_proxy_front_members{standing="announced"} 2',
        'host_proxy_front_members{standing="lost"} 1',
        'host_proxy_front_members{standing="spare"} 0',
        "host_proxy_front_places 2",
        "host_proxy_front_cluster_members 3",
        "host_proxy_front_cluster_turns 4",
        "host_proxy_front_unowned_slots 7",
        "host_proxy_front_silences_total 8",
        'host_proxy_front_map_changes_total{change="add"} 2',
        'host_proxy_front_map_changes_total{change="set"} 0',
        'host_proxy_front_map_changes_total{change="del"} 1',
        "host_proxy_front_unknown_total 3",
        "host_proxy_front_misdirected_total 4",
        'host_proxy_front_rounds_total{outcome="done"} 5',
        'host_proxy_front_rounds_total{outcome="failed"} 6',
        'host_proxy_front_alarm{alarm="split"} 1',
        'host_proxy_front_alarm{alarm="nobody"} 0',
    ):
        assert line in lines


def test_the_log_is_told_the_same() -> None:
    said = figures().as_dict()
    assert said["members"] == {"a": "announced", "b": "announced", "c": "lost"}
    assert said["alarms"] == ["split"]
    assert (said["places"], said["unknown"], said["misdirected"]) == (2, 3, 4)
    assert (said["cluster_members"], said["cluster_turns"], said["unowned"]) == (3, 4, 7)
    assert said["silences"] == 8


def test_at_the_start_nothing_has_been_counted() -> None:
    assert Figures().as_dict() == {
        "rounds": 0,
        "failed_rounds": 0,
        "silences": 0,
        "members": {},
        "places": 0,
        "map_changes": {},
        "unknown": 0,
        "misdirected": 0,
        "cluster_members": 0,
        "cluster_turns": 0,
        "unowned": 0,
        "alarms": [],
    }
