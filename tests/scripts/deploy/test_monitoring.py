"""Alerts and dashboard ask for metrics that the code exports, and scrape where the units serve."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from host_proxy import figures
from host_proxy.counters import RouteCounters, prometheus_text
from host_proxy.exposition import text
from host_proxy.watch import Tally, families

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "scripts" / "deploy"
MONITORING = DEPLOY / "monitoring"

# What Prometheus and its blackbox exporter add, with the labels that they are asked by.
FOREIGN = {"up": {"job"}, "probe_success": {"job"}, "probe_ssl_earliest_cert_expiry": {"job"}}
# What a scrape adds to every sample, and the dashboard's variables, which can take any value.
SCRAPED = {"job", "instance"}
VARIABLES = {"instance", "route"}


def exported() -> dict[str, dict[str, set[str]]]:
    """Return the metrics that host_proxy exports, each with its labels and their values."""
    page = prometheus_text([RouteCounters("ingress")]) + text(families(Tally()))
    page += text(figures.families(figures.Figures()))
    found: dict[str, dict[str, set[str]]] = {}
    for line in page.decode().splitlines():
        if sample := re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? \S+", line):
            labels = found.setdefault(sample[1], {})
            for name, value in re.findall(r'(\w+)="([^"]*)"', sample[2] or ""):
                labels.setdefault(name, set()).add(value)
    return found


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """Return the vectors that an expression selects; ValueError if it is not PromQL."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def check(expression: str) -> set[str]:
    """Fail unless all metrics, labels and values exist; return the metrics."""
    own = exported()
    names: set[str] = set()
    for selector in selectors(expression):
        assert selector.name in own.keys() | FOREIGN.keys(), expression
        names.add(selector.name)
        labels = own.get(selector.name, {})
        for matcher in selector.matchers.matchers:
            known = labels.keys() | SCRAPED | FOREIGN.get(selector.name, set())
            assert matcher.name in known, f"{selector.name}: {matcher.name}"
            if matcher.name in labels and matcher.name != "route":
                assert matcher.value in labels[matcher.name], f"{matcher.name}={matcher.value}"
    assert names
    return names


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def jobs() -> dict[str, list[str]]:
    """Return the jobs that are scraped, with their targets."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    return {
        job["job_name"]: [t for static in job["static_configs"] for t in static["targets"]]
        for job in config["scrape_configs"]
    }


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return loaded


def dashboard_expressions() -> list[str]:
    return [
        target["expr"].replace("$__rate_interval", "1m")
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    check(rule["expr"])
    assert re.fullmatch(r"([A-Z][a-z]+)+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))


def test_the_jobs_that_alerts_name_are_scraped() -> None:
    for rule in rules():
        for selector in selectors(rule["expr"]):
            for matcher in selector.matchers.matchers:
                if matcher.name == "job":
                    assert any(re.fullmatch(matcher.value, job) for job in jobs()), rule["alert"]


def test_no_two_alerts_share_a_name() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "expression",
    [
        "host_proxy_connections_acitve",
        'host_proxy_dial_failures_total{failure="tired"}',
        'host_proxy_dial_failures_total{reason="refused"}',
        "rate(host_proxy_held[5m]",
        "1 + 1",
    ],
)
def test_a_wrong_expression_is_noticed(expression: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(expression)


@pytest.mark.parametrize(
    ("job", "unit"),
    [
        ("oblivious-ingress", "oblivious-host-proxy.service"),
        ("oblivious-egress", "oblivious-egress.service"),
        ("oblivious-enclave", "oblivious-enclave.service"),
        ("oblivious-routing", "oblivious-front.service"),
    ],
)
def test_it_scrapes_where_the_units_serve(job: str, unit: str) -> None:
    (served,) = re.findall(r"tcp://(127\.0\.0\.1:[%i]*\d+)", (DEPLOY / unit).read_text())
    assert jobs()[job] == [served.replace("%i", "")]


@pytest.mark.parametrize("expression", dashboard_expressions())
def test_a_panel_asks_for_what_there_is(expression: str) -> None:
    check(expression)


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for expression in dashboard_expressions() for name in check(expression)}
    assert exported().keys() <= shown


def test_the_dashboards_panels_lie_side_by_side_and_have_names_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_goes_into_any_grafana() -> None:
    """Its data source is a variable, and so are all that it filters by."""
    page = dashboard()
    variables = {variable["name"] for variable in page["templating"]["list"]}
    assert variables == {"datasource", *VARIABLES}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(page["panels"])))
    assert used <= variables | {"__rate_interval"}
    queries = json.dumps([variable["query"] for variable in page["templating"]["list"]])
    for metric in re.findall(r"host_proxy_[a-z_]+", queries):
        assert metric in exported() or metric == "host_proxy_", metric
    sources = {p["datasource"]["uid"] for p in page["panels"] if "datasource" in p}
    assert sources == {"${datasource}"}
