"""`setup` and `config show`: decide once, and see what counts."""

import io
import json
import stat
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave_server.security_module.simulated import simulated_pcrs
from oblivious_client import cli, configuration
from oblivious_client.exits import Exit
from tests.oblivious_client.test_terminal import Terminal
from tests.support.gateway import MODEL, WORDS, StandInGateway
from tests.support.released_gateway import RELEASES, begun, listed, running
from tests.support.releases import TRUST, note


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


@pytest.fixture(autouse=True)
def new_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for name in ("RELAY", "GATEWAY", "PCRS", "TRUST", "MODEL", "PROXY"):
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
    assert "trust    -" in lines
    assert lines[-1].startswith("demands  nothing yet")
    assert cli.main(["config", "show", "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert told["exists"] is False
    assert told["settings"]["relay"] == {"value": "https://r.example", "source": "OBLIVIOUS_RELAY"}


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    path = tmp_path / "trust.json"
    path.write_bytes(TRUST.encode_file())
    return path


def demands(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["config", "show", "--json", *words]) == Exit.OK
    return str(json.loads(capsys.readouterr().out)["demands"])


def test_releases_that_are_set_up_are_relied_on_without_further_words(
    gateway: StandInGateway, trust: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = listed(running(1))
    gateway.files[RELEASES] = log.served(int(time.time()))
    setup = ["setup", "--relay", gateway.url, "--trust", str(trust), "--model", MODEL]
    assert cli.main([*setup, "--allow-simulated"]) == Exit.OK
    assert said() == {"relay": gateway.url, "trust": str(trust), "model": MODEL}
    assert "release: 1.1.0, signed by 2 of 3 builders" in capsys.readouterr().err
    for command in (["chat", "Hi"], ["verify"]):
        assert cli.main([*command, "--allow-simulated"]) == Exit.OK
        captured = capsys.readouterr()
        assert "signed by 2 of 3 builders" in captured.out + captured.err
    assert "2 of 3 builders, 2 of 3 witnesses" in demands(capsys, "--allow-simulated")
    assert "list 0 minutes old" in demands(capsys)
    # What runs is no longer what will do.
    gateway.files[RELEASES] = log.add(note(begun(2, floor=2))).served(int(time.time()))
    assert cli.main(["releases", "fetch", "--allow-simulated"]) == Exit.OK
    for command in (["chat", "Hi"], ["verify"], ["serve", "--listen", "127.0.0.1:0"]):
        assert cli.main([*command, "--allow-simulated"]) == Exit.PCRS
    assert len(gateway.posts()) == 1


def test_releases_that_are_not_served_are_not_set_up(gateway: StandInGateway, trust: Path) -> None:
    words = ["setup", "--relay", gateway.url, "--trust", str(trust), "--allow-simulated"]
    assert cli.main(words) != Exit.OK
    gateway.files[RELEASES] = listed(begun(1)).served(int(time.time()))
    assert cli.main(words) == Exit.PCRS
    assert not configuration.place().exists()


def test_measurements_take_the_place_of_releases_and_the_other_way_round(
    gateway: StandInGateway,
    trust: Path,
    pins: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway.files[RELEASES] = listed(running(1)).served(int(time.time()))
    setup = ["setup", "--relay", gateway.url, "--allow-simulated"]
    assert cli.main([*setup, "--trust", str(trust)]) == Exit.OK
    assert cli.main([*setup, "--pcrs", str(pins)]) == Exit.OK
    assert said() == {"relay": gateway.url, "pcrs": str(pins)}
    assert demands(capsys) == "the measurements of the file"
    assert cli.main([*setup, "--trust", str(trust)]) == Exit.OK
    assert cli.main(setup) == Exit.OK  # what was decided stays
    assert said() == {"relay": gateway.url, "trust": str(trust)}
    assert cli.main([*setup, "--pcrs", str(pins), "--trust", str(trust)]) == Exit.USAGE
    monkeypatch.setenv("OBLIVIOUS_PCRS", str(pins))
    assert cli.main([*setup, "--trust", str(trust)]) == Exit.USAGE
    assert "OBLIVIOUS_PCRS names some" in capsys.readouterr().err
    assert said() == {"relay": gateway.url, "trust": str(trust)}
    assert demands(capsys) == "the measurements of the file"


def test_a_person_is_asked_whose_releases_will_do(
    gateway: StandInGateway, trust: Path, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.files[RELEASES] = listed(begun(1)).served(int(time.time()))
    setup = ["setup", "--relay", gateway.url]
    monkeypatch.setattr("sys.stdin", Terminal(f"{trust}\n"))
    assert cli.main(setup) == Exit.SIMULATED  # which comes before what runs in it
    monkeypatch.setattr("sys.stdin", Terminal(f"\n{pins}\n"))
    assert cli.main(setup) == Exit.SIMULATED
    for wrong in ("/none\n", f"{pins}\n", "\n/none\n", f"\n{trust}\n"):
        monkeypatch.setattr("sys.stdin", Terminal(wrong))
        assert cli.main(setup) == Exit.USAGE
    assert not configuration.place().exists()


def test_what_was_decided_is_shown_to_a_person_and_kept_where_nothing_is_typed(
    gateway: StandInGateway,
    trust: Path,
    pins: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway.files[RELEASES] = listed(running(1)).served(int(time.time()))
    setup = ["setup", "--relay", gateway.url]
    for option, file in (("--trust", trust), ("--pcrs", pins)):
        assert cli.main([*setup, option, str(file), "--allow-simulated"]) == Exit.OK
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", Terminal("\n\n"))
        assert cli.main(setup) == Exit.SIMULATED
        assert f"[{file}]: " in capsys.readouterr().err


def test_what_is_asked_is_shown_before_it_is_waited_for(
    gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, shown = io.BytesIO(), []

    class Looking(Terminal):
        """Sees what is on the screen when somebody begins to type."""

        def readline(self, *size: Any) -> Any:
            shown.append(written.getvalue().decode())
            return super().readline(*size)

    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BufferedWriter(written)))
    monkeypatch.setattr("sys.stdin", Looking("\n\n"))
    assert cli.main(["setup", "--relay", gateway.url]) == Exit.SIMULATED
    assert [each.endswith(": ") for each in shown] == [True, True]


def test_a_file_that_is_gone_is_told_and_everything_else_shown(
    gateway: StandInGateway, trust: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.files[RELEASES] = listed(running(1)).served(int(time.time()))
    words = ["setup", "--relay", gateway.url, "--trust", str(trust), "--allow-simulated"]
    assert cli.main(words) == Exit.OK
    trust.unlink()
    assert demands(capsys).startswith(f"nothing can be asked: cannot read {trust}")
    assert cli.main(["chat", "Hi", "--allow-simulated"]) == Exit.USAGE


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
