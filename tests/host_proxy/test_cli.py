"""The command `host-proxy`."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from host_proxy.cli import OWN_DESCRIPTORS, main
from tests.support.host_proxy_process import (
    DEADLINE,
    ingress,
    running,
)


def test_the_command_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "host_proxy", "--help"],
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    ).stdout.decode()
    for word in ("vsock-uds:PATH:PORT", "--egress", "SIGUSR1", "exit:", "TOML"):
        assert word in shown


def test_descriptors_are_enough_for_the_cap(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(*ingress(tmp_path, "--connections", "100")) as proxy:
        proxy.ports()
        soft = int(
            Path(f"/proc/{proxy.pid}/limits").read_text().split("Max open files")[1].split()[0]
        )
        assert soft >= min(hard, 2 * 100)


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "limit"),
    [
        (64, 200, 100, 200),  # all that the system allows, and a word that it is not enough
        (300, 400, 40, 400),  # two sockets for each connection, and what the process needs itself
        (300, 9999, 40, 400),  # no more than that
        (999, 9999, 40, 999),  # never less than there was
    ],
)
def test_the_limit_of_descriptors_is_raised_as_far_as_is_needed_and_allowed(
    tmp_path: Path, soft: int, hard: int, connections: int, limit: int
) -> None:
    program = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "from host_proxy.cli import main; sys.exit(main())"
    )
    options = ingress(tmp_path, "--connections", str(connections))
    with running(*options, program=program) as proxy:
        proxy.ports()
        assert resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE) == (limit, hard)
        few = [(event["have"], event["wanted"]) for event in proxy.events("few_descriptors")]
        assert few == ([(200, 2 * 100 + OWN_DESCRIPTORS)] if limit == 200 else [])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--probe", "0", "--connect", "unix:a"], 2, "(see host-proxy --help)"),
        (["--listen", "unix:/absent/a", "--connect", "unix:b"], 1, "cannot listen on unix:"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert said.startswith("host-proxy: ")
    assert words in said
    assert said.count("\n") == 1


def test_arguments_come_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["host-proxy", "--listen", "tcp://127.0.0.1:0"])
    assert main() == 2
