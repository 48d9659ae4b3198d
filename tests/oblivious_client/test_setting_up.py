"""`setup` and `config show`: decide once, and see what counts."""

import io
import json
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclave_server.security_module.simulated import simulated_pcrs
from oblivious_client import cli, configuration
from oblivious_client.exits import Exit
from tests.oblivious_client.test_terminal import Terminal
from tests.support.gateway import MODEL, WORDS, StandInGateway


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


@pytest.fixture(autouse=True)
def new_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for name in ("RELAY", "GATEWAY", "PCRS", "MODEL", "PROXY"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "pins.json"
    found = {f"PCR{index}": value.hex() for index, value in simulated_pcrs().items() if index < 3}
    path.write_text(json.dumps({"Measurements": found}))
    return path


def said() -> dict[str, object]:
    return tomllib.loads(configuration.place().read_text())


def test_what_is_set_up_is_asked(
    gateway: StandInGateway, pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--relay", gateway.url, "--pcrs", str(pins), "--model", MODEL, "--allow-simulated"]
    assert cli.main(["setup", *words]) == Exit.OK
    captured = capsys.readouterr()
    assert "oblivious-client chat --allow-simulated" in captured.out
    assert str(configuration.place()) in captured.err
    assert said() == {"relay": gateway.url, "pcrs": str(pins), "model": MODEL}
    assert stat.S_IMODE(configuration.place().stat().st_mode) == 0o600
    assert cli.main(["chat", "--allow-simulated", "Hi"]) == Exit.OK
    assert capsys.readouterr().out == "".join(WORDS) + "\n"


def test_a_simulated_enclave_is_allowed_each_time_and_never_for_good(
    gateway: StandInGateway,
) -> None:
    assert cli.main(["setup", "--relay", gateway.url, "--allow-simulated"]) == Exit.OK
    assert cli.main(["chat", "Hi"]) == Exit.SIMULATED
    assert gateway.posts() == []


def test_nothing_is_written_that_was_not_verified(
    gateway: StandInGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["setup", "--relay", gateway.url]) == Exit.SIMULATED
    assert "nothing was written" in capsys.readouterr().err
    assert not configuration.place().exists()


@pytest.mark.parametrize("words", [[], ["--gateway", "http://127.0.0.1:1"], ["--relay", "ftp://r"]])
def test_wrong_words_are_refused(words: list[str]) -> None:
    assert cli.main(["setup", *words]) == Exit.USAGE
    assert not configuration.place().exists()


def test_a_person_is_asked_for_the_rest(
    gateway: StandInGateway,
    pins: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{gateway.url}\n"))
    assert cli.main(["setup", "--pcrs", str(pins), "--allow-simulated"]) == Exit.OK
    assert said() == {"relay": gateway.url, "pcrs": str(pins)}
    assert "Relay" in capsys.readouterr().err
    # What was decided stays where nothing is typed.
    monkeypatch.setattr("sys.stdin", Terminal("\n"))
    assert cli.main(["setup", "--model", "m", "--allow-simulated"]) == Exit.OK
    assert said() == {"relay": gateway.url, "pcrs": str(pins), "model": "m"}


def test_a_wrong_file_is_named_by_every_command_that_reads_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configuration.place().parent.mkdir(parents=True)
    configuration.place().write_text("relai = 1")
    for command in (["chat", "Hi"], ["verify"], ["config", "show"], ["setup"]):
        assert cli.main(command) == Exit.USAGE
        told = capsys.readouterr().err
        assert "'relai'" in told
        assert str(configuration.place()) in told


def test_it_is_told_where_each_value_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["config", "show"]) == Exit.OK
    assert "(there is none)" in capsys.readouterr().out
    monkeypatch.setenv("OBLIVIOUS_RELAY", "https://r.example")
    assert cli.main(["config", "show", "--model", "m"]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert "relay    https://r.example  (OBLIVIOUS_RELAY)" in lines
    assert "model    m  (the command line)" in lines
    assert "pcrs     -" in lines
    assert cli.main(["config", "show", "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert told["exists"] is False
    assert told["settings"]["relay"] == {"value": "https://r.example", "source": "OBLIVIOUS_RELAY"}


def test_a_gateway_is_nothing_to_keep(
    gateway: StandInGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--relay", gateway.url, "--gateway", gateway.url, "--allow-simulated"]
    assert cli.main(["setup", *words]) == Exit.USAGE
    assert "a gateway sees your address" in capsys.readouterr().err
    assert gateway.arrived == []


def test_of_several_relays_none_is_asked_about(
    gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays = [gateway.url, gateway.url.replace("127.0.0.1", "localhost")]
    words = [word for url in relays for word in ("--relay", url)]
    assert cli.main(["setup", *words, "--allow-simulated"]) == Exit.OK
    monkeypatch.setattr("sys.stdin", Terminal("nonsense\n"))
    assert cli.main(["setup", "--model", "m", "--allow-simulated"]) == Exit.OK
    assert said() == {"relay": relays, "model": "m"}
