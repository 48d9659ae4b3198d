"""Tests of the command: its text, its exit statuses, its sentences."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from enclave_server import cli
from enclave_server.processes.startup import ExitCode
from protocol.evidence import Platform
from tests.support.enclave import DEADLINE, models_request, private_directory, running_enclave


def run(*arguments: str, program: Sequence[str] = ("-m", "enclave_server")) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_help_explains_everything() -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for word in (
        "--listen",
        "--config",
        "--workers",
        "--nsm",
        "--simulated-nsm",
        "--check-config",
        "SIGTERM",
    ):
        assert word in out
    for status in ExitCode:
        assert f" {int(status)}  " in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--lisen", "unix:/a"], ExitCode.USAGE, "--lisen"),
        (["--lis", "unix:/a"], ExitCode.USAGE, "--lis"),
        (["--workers", "many"], ExitCode.USAGE, "--workers"),
        (["--workers", "0"], ExitCode.USAGE, "server.workers"),
        (["--listen", "localhost"], ExitCode.USAGE, "not an address"),
        (["--config", "/nonexistent"], ExitCode.USAGE, "/nonexistent"),
        (["--nsm", "/x", "--simulated-nsm"], ExitCode.USAGE, "not allowed"),
        (["--nsm", "/nonexistent"], ExitCode.MODULE, "/nonexistent"),
        (["--listen", "unix:/dev/null/s"], ExitCode.ADDRESS, "--listen"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], code: int, words: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (code, "")
    (sentence,) = [line for line in err.splitlines() if not line.startswith("{")]
    assert sentence.startswith("enclave-server: ")
    assert words in sentence


def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text("[server]\nworker = 1\n")
    status, _, err = run("--config", str(config))
    assert status == ExitCode.USAGE
    assert "wrong.toml" in err
    assert "`worker`" in err


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("address='vsock://3:8001'", "host_name"),
        ("address='tcp://10.0.0.1:443'\nca_file='/dev/null/absent'", "/dev/null/absent"),
        ("address='tcp://10.0.0.1:443'\nca_file='/dev/null'", "/dev/null"),
    ],
)
def test_an_upstream_that_cannot_be_used_is_named(tmp_path: Path, table: str, named: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[[models]]\nname='a'\nupstream='b'\n[upstreams.b]\n{table}\n")
    status, _, err = run("--config", str(config))
    assert status == ExitCode.USAGE
    assert named in err


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ("", ExitCode.ENDED, ""),
        ("[server]\nworkers = 0\n", ExitCode.USAGE, "server.workers"),
        ("[[models]]\nname='a'\nupstream='b'\n", ExitCode.USAGE, "not configured"),
        ("[upstreams.b]\naddress='vsock://3:8001'\n", ExitCode.USAGE, "host_name"),
        ("[engine]\nmodel_file='/nonexistent.gguf'\nsha256='00'\n", ExitCode.MODEL, "weights"),
        ("models = []\n[engine]\nmodel_file='/absent'\nsha256='00'\n", ExitCode.ENDED, ""),
    ],
)
def test_settings_are_checked_without_a_start(
    tmp_path: Path, settings: str, code: int, words: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(settings)
    status, out, err = run("--check-config", "--config", str(config), "--nsm", "/nonexistent")
    assert (status, out) == (code, "")
    assert words in err
    assert len(err.splitlines()) == (code != ExitCode.ENDED)


def test_a_key_that_is_not_where_it_should_be_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEY_OF_B", "sk-b")
    keys = {"a": "key_env='NO_SUCH_KEY'", "b": "key_env='KEY_OF_B'", "c": "key_provisioned=true"}
    config = "".join(
        f"[[models]]\nname='{name}'\nupstream='{name}'\n"
        f"[upstreams.{name}]\naddress='tcp://127.0.0.1:9'\n{key}\n"
        for name, key in keys.items()
    )
    config += '[provision]\nadministrator_key="sddpLIvytHBnhdrc6IMmo56hbfXSzPJ0lUSkT5ko/1I="\n'
    with running_enclave(config=config) as enclave:
        assert [event["upstream"] for event in enclave.events("key_absent")] == ["a"]


def test_missing_weights_are_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[engine]\nmodel_file='/nonexistent.gguf'\nsha256='00'\n")
    status, _, err = run("--config", str(config), "--listen", f"unix:{tmp_path}/s")
    assert status == ExitCode.MODEL
    assert "weights" in err


def test_altered_weights_are_a_sentence() -> None:
    with private_directory() as directory:
        (directory / "model.gguf").write_bytes(b"GGUF")
        config = directory / "config.toml"
        config.write_text(f"[engine]\nmodel_file='{directory}/model.gguf'\nsha256='00'\n")
        status, _, err = run("--config", str(config), "--listen", f"unix:{directory}/s")
        assert status == ExitCode.MODEL
        assert "SHA-256" in err
        assert not (directory / "s").exists()


def test_a_clock_that_is_plainly_wrong_is_a_sentence() -> None:
    program = (
        "import sys, time; from enclave_server import cli;"
        "from enclave_server.processes import supervisor;"
        "supervisor.ptp_time = lambda: time.time() - 3600; sys.exit(cli.main())"
    )
    with private_directory() as directory:
        config = directory / "config.toml"
        config.write_text("models = []\n")
        arguments = ["--config", str(config), "--listen", f"unix:{directory}/s"]
        status, _, err = run(*arguments, program=("-c", program))
    assert status == ExitCode.CLOCK
    assert "3600 seconds ahead of the PTP device" in err


def test_the_embedded_model_is_served_without_any_settings() -> None:
    with running_enclave(config="") as enclave:
        answer = enclave.ask(models_request())
        assert b"smollm2-135m-instruct" in answer.content
        assert enclave.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], ExitCode.ENDED),
        (["--check-config"], ExitCode.ENDED),
        (["--check-config", "--config", "/nonexistent"], ExitCode.USAGE),
        (["--what"], ExitCode.USAGE),
    ],
)
def test_whoever_calls_it_gets_the_status(
    arguments: list[str], status: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == status
    captured = capsys.readouterr()
    assert bool(captured.err) is (status is ExitCode.USAGE)
    assert bool(captured.out) is (arguments == ["--help"])


def test_a_server_that_was_told_to_end_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[object] = []
    monkeypatch.setattr(cli, "serve", lambda config, module, log: served.append(module.platform))
    assert cli.main(["--simulated-nsm", "--workers", "2"]) == ExitCode.ENDED
    assert served == [Platform.SIMULATED]
