"""What options come to: several relays, and the file of measurements."""

from pathlib import Path

import pytest

from oblivious_client import configuration, layers, settings
from oblivious_client.cache import EvidenceCache
from oblivious_client.configuration import Configuration
from oblivious_client.defaults import DEFAULT_MODEL
from oblivious_client.errors import UsageError
from oblivious_client.options import COMMANDS, parse
from oblivious_client.policy import Policy, Simulated

ONE, TWO = "https://one.example", "https://two.example"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "OBLIVIOUS_RELAY",
        "OBLIVIOUS_GATEWAY",
        "OBLIVIOUS_PCRS",
        "OBLIVIOUS_TRUST",
        "OBLIVIOUS_MODEL",
        "OBLIVIOUS_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def relays(*words: str) -> list[str | None]:
    return [route.relay for route in settings.routes(parse(["serve", *words], COMMANDS))]


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
    routes = settings.routes(parse(words, COMMANDS))
    assert {route.policy for route in routes} == {Policy(simulated=Simulated.ALLOWED)}
    assert {route.proxy for route in routes} == {"http://p"}
    assert routes[0].cache == EvidenceCache(tmp_path / "oblivious-inference")


def test_measurements_are_named_by_option_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLIVIOUS_PCRS", "theirs.json")
    assert settings.pcrs(parse(["keys"], COMMANDS)) == "theirs.json"
    assert settings.pcrs(parse(["keys", "--pcrs", "mine.json"], COMMANDS)) == "mine.json"


def test_where_the_wallet_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def path(*arguments: str) -> Path:
        parsed = parse(["tokens", "list", *arguments], COMMANDS)
        return settings.wallet(parsed).file.path

    monkeypatch.delenv("OBLIVIOUS_WALLET", raising=False)
    for base in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", base)
        monkeypatch.setenv("HOME", str(tmp_path))
        own = tmp_path / ".local" / "share" / "oblivious-inference" / "wallet.sqlite3"
        assert path() == own
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert path() == Path("/data/oblivious-inference/wallet.sqlite3")
    monkeypatch.setenv("OBLIVIOUS_WALLET", "/other")
    assert path() == Path("/other")
    assert path("--wallet", "/mine") == Path("/mine")


def test_what_pays_is_part_of_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLIVIOUS_RELAY", ONE)
    asked = parse(["chat", "--wallet", "/w", "--max-price", "c16", "Hi"], COMMANDS)
    found = settings.route(asked)
    assert found.wallet is not None
    assert found.wallet.file.path == Path("/w")
    assert str(found.most) == "c16"
    assert settings.route(parse(["keys"], COMMANDS)).wallet is None
    with pytest.raises(UsageError, match="not a price point: 'dear'"):
        settings.route(parse(["chat", "--max-price", "dear"], COMMANDS))


def sources(*words: str) -> dict[str, tuple[object, str]]:
    found = settings.found(parse(["config", "show", *words], COMMANDS))
    return {name: (each.value, each.source) for name, each in found.items()}


def test_options_go_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = configuration.place()
    said = Configuration(relay=(ONE, TWO), proxy="http://p", model="m", pcrs="/pins")
    configuration.write(path, said)
    file = str(path)
    assert sources()["relay"] == ((ONE, TWO), file)
    assert settings.addresses(parse(["serve"], COMMANDS)) == ((ONE, TWO), None)
    chat = parse(["chat", "Hi"], COMMANDS)
    assert settings.model(chat) == "m"
    assert settings.proxy(chat) == "http://p"
    assert settings.pcrs(chat) == "/pins"
    for name in ("GATEWAY", "PROXY", "PCRS", "MODEL"):
        monkeypatch.setenv(f"OBLIVIOUS_{name}", "http://of.environment")
    assert sources()["gateway"] == ("http://of.environment", "OBLIVIOUS_GATEWAY")
    assert sources()["relay"][0] is None
    assert sources()["model"] == ("http://of.environment", "OBLIVIOUS_MODEL")
    assert settings.proxy(chat) == settings.pcrs(chat) == "http://of.environment"
    words = ("--relay", TWO, "--proxy", "http://q", "--pcrs", "mine", "--model", "n")
    given = sources(*words)
    assert given.pop("gateway")[0] is None
    assert given.pop("trust")[0] is None
    assert [given.pop(name)[0] for name in tuple(given) if "mirror" in name] == [None] * 4
    assert {source for _, source in given.values()} == {layers.COMMAND_LINE}


def test_what_nothing_says() -> None:
    values = sources()
    assert values.pop("model") == (DEFAULT_MODEL, layers.DEFAULT)
    assert {value for value, _ in values.values()} == {None}


def test_a_wrong_proxy_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLIVIOUS_PROXY", "socks5://p")
    with pytest.raises(UsageError, match="OBLIVIOUS_PROXY"):
        settings.proxy(parse(["keys"], COMMANDS))


def test_the_first_relay_is_asked_by_who_takes_one() -> None:
    configuration.write(configuration.place(), Configuration(relay=(TWO, ONE)))
    assert settings.route(parse(["keys"], COMMANDS)).relay == TWO
