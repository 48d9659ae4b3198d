"""What is counted, and that no number is lost between the counting and the telling."""

import re

from host_proxy.carrying import Ending
from host_proxy.counters import DOWNWARD, UPWARD, RouteCounters, prometheus_text
from host_proxy.dialing import Failure


def counted() -> RouteCounters:
    """Return counters that all differ."""
    counters = RouteCounters('in "gress"')
    counters.accepted, counters.active, counters.refused, counters.starved = 11, 12, 13, 14
    counters.held = True
    counters.endings.update({ending: 20 + i for i, ending in enumerate(Ending)})
    counters.failures.update({failure: 30 + i for i, failure in enumerate(Failure)})
    counters.carried.update({UPWARD: 40, DOWNWARD: 41})
    return counters


def test_every_count_is_in_the_log_line() -> None:
    assert counted().as_dict() == {
        "route": 'in "gress"',
        "accepted": 11,
        "active": 12,
        "held": True,
        "refused": 13,
        "starved": 14,
        "ended": {ending.value: 20 + i for i, ending in enumerate(Ending)},
        "dial_failures": {failure.value: 30 + i for i, failure in enumerate(Failure)},
        "bytes": {"to_upstream": 40, "to_client": 41},
    }


def test_every_count_is_a_metric_of_its_route() -> None:
    lines = prometheus_text([counted(), RouteCounters("other")]).decode().splitlines()
    samples = {
        name + rest: float(value)
        for line in lines
        if (found := re.fullmatch(r'(\w+)\{route="in \\"gress\\""(.*)\} (\S+)', line))
        for name, rest, value in [found.groups()]
    }
    assert samples == {
        "host_proxy_connections_accepted_total": 11,
        "host_proxy_connections_active": 12,
        "host_proxy_connections_refused_total": 13,
        "host_proxy_held": 1,
        "host_proxy_descriptor_shortages_total": 14,
        **{
            f'host_proxy_connections_ended_total,ending="{ending.value}"': 20 + i
            for i, ending in enumerate(Ending)
        },
        **{
            f'host_proxy_dial_failures_total,failure="{failure.value}"': 30 + i
            for i, failure in enumerate(Failure)
        },
        'host_proxy_carried_bytes_total,direction="to_upstream"': 40,
        'host_proxy_carried_bytes_total,direction="to_client"': 41,
    }
    assert sum('route="other"' in line for line in lines) == len(samples)
    assert {line.split()[3] for line in lines if "# TYPE" in line} == {"counter", "gauge"}


def test_nothing_is_counted_at_first() -> None:
    fresh = RouteCounters("any").as_dict()
    assert (fresh["accepted"], fresh["active"], fresh["refused"], fresh["starved"]) == (0, 0, 0, 0)
    assert fresh["held"] is False
