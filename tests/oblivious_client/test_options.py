"""The command line read: commands, their options, and the route that they name."""

from pathlib import Path

import pytest

from oblivious_client import options
from oblivious_client.client import DEFAULT_MODEL
from oblivious_client.commands import COMMANDS
from oblivious_client.errors import UsageError
from oblivious_client.policy import Policy, Simulated
from oblivious_client.route import Route
from oblivious_client.sealing import Framing

RELAY = "https://relay.example"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OBLIVIOUS_RELAY", "OBLIVIOUS_GATEWAY", "OBLIVIOUS_PCRS", "OBLIVIOUS_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def route(*arguments: str) -> Route:
    return options.route(options.parse(list(arguments), tuple(COMMANDS)))


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "help"),
        (["help"], "help"),
        (["-h"], "help"),
        (["chat", "--help"], "help"),
        (["chat", "--", "--help"], "chat"),
        (["--version"], "version"),
        (["keys"], "keys"),
    ],
)
def test_commands(arguments: list[str], command: str) -> None:
    assert options.parse(arguments, tuple(COMMANDS)).command == command


def test_a_route_by_options() -> None:
    found = route("keys", "--relay", RELAY, "--proxy", "http://p.example:1", "--max-age", "60")
    assert found.endpoint == Route(RELAY).endpoint
    assert (found.policy, found.proxy) == (Policy(max_age=60), "http://p.example:1")
    assert found.cache is not None
    assert route("keys", "--gateway", RELAY, "--no-cache").cache is None
    assert route("keys", "--relay", RELAY, "--allow-simulated").policy == Policy(
        simulated=Simulated.ALLOWED
    )


def test_the_environment_names_what_the_command_line_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OBLIVIOUS_RELAY", RELAY)
    monkeypatch.setenv("OBLIVIOUS_GATEWAY", "https://gateway.example")
    assert route("keys").endpoint == Route(RELAY).endpoint
    assert route("keys", "--gateway", "unix:/g").endpoint == Route(gateway="unix:/g").endpoint
    monkeypatch.delenv("OBLIVIOUS_RELAY")
    assert route("keys").endpoint == Route(gateway="https://gateway.example").endpoint


def test_models(monkeypatch: pytest.MonkeyPatch) -> None:
    given = options.parse(["chat", "--model", "m", "Hi"], tuple(COMMANDS))
    bare = options.parse(["chat", "--framing", "whole", "Hi"], tuple(COMMANDS))
    assert (options.model(given), options.model(bare)) == ("m", DEFAULT_MODEL)
    assert bare.framing is Framing.WHOLE
    monkeypatch.setenv("OBLIVIOUS_MODEL", "other")
    assert (options.model(given), options.model(bare)) == ("m", "other")


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such"],
        ["keys", "--max-age", "0"],
        ["keys", "--max-age", "x"],
        ["keys", "--proxy", "ftp://p"],
        ["keys", "--proxy", "http://p:x"],
        ["chat", "--framing", "half"],
        ["provision"],
        ["serve", "more"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        options.parse(arguments, tuple(COMMANDS))
