"""What options come to: several relays, and the file of measurements."""

from pathlib import Path

import pytest

from oblivious_client import settings
from oblivious_client.cache import EvidenceCache
from oblivious_client.errors import UsageError
from oblivious_client.options import PARSERS, parse
from oblivious_client.policy import Policy, Simulated

ONE, TWO = "https://one.example", "https://two.example"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OBLIVIOUS_RELAY", "OBLIVIOUS_GATEWAY", "OBLIVIOUS_PCRS", "OBLIVIOUS_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def relays(*words: str) -> list[str | None]:
    return [route.relay for route in settings.routes(parse(["serve", *words], tuple(PARSERS)))]


def test_relays_are_tried_in_the_order_of_the_command_line_each_once() -> None:
    assert relays("--relay", TWO, "--relay", ONE, "--relay", TWO) == [TWO, ONE]


def test_one_of_the_environment_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLIVIOUS_RELAY", ONE)
    assert relays() == [ONE]
    assert relays("--relay", TWO) == [TWO]


def test_without_any_or_with_a_gateway_beside_it_there_is_no_route() -> None:
    for words in ([], ["--relay", ONE, "--gateway", TWO]):
        with pytest.raises(UsageError, match="either a relay or a gateway"):
            relays(*words)
    assert relays("--gateway", ONE) == [None]


def test_every_route_demands_the_same(tmp_path: Path) -> None:
    words = ["serve", "--relay", ONE, "--relay", TWO, "--allow-simulated", "--proxy", "http://p"]
    routes = settings.routes(parse(words, tuple(PARSERS)))
    assert {route.policy for route in routes} == {Policy(simulated=Simulated.ALLOWED)}
    assert {route.proxy for route in routes} == {"http://p"}
    assert routes[0].cache == EvidenceCache(tmp_path / "oblivious-inference")


def test_measurements_are_named_by_option_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLIVIOUS_PCRS", "theirs.json")
    assert settings.pcrs(parse(["keys"], tuple(PARSERS))) == "theirs.json"
    assert settings.pcrs(parse(["keys", "--pcrs", "mine.json"], tuple(PARSERS))) == "mine.json"
