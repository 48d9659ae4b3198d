"""restart-enclave: the order of what systemd is told, with a stand-in for systemctl."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.enclave_host import DEPLOY

# Notes what it is told; the carrier's status text is the next line of $STATE/statuses, or the last.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$STATE/calls"
case $1 in
is-active) [ ! -e "$STATE/no-carrier" ] ;;
show)
    head -n 1 "$STATE/statuses"
    [ "$(wc -l <"$STATE/statuses")" = 1 ] || sed -i 1d "$STATE/statuses"
    ;;
restart) [ ! -e "$STATE/starts-not" ] ;;
esac
"""
HOLD = "kill --kill-whom=main --signal=USR2 oblivious-host-proxy.service"
SHOW = "show --property=StatusText --value oblivious-host-proxy.service"
RESTART = "restart oblivious-enclave.service"
GO_ON = "kill --kill-whom=main --signal=CONT oblivious-host-proxy.service"


class Host:
    def __init__(self, directory: Path) -> None:
        self.state = directory
        (directory / "statuses").write_text("Held: 2 connection(s)\nHeld: drained\n")
        (directory / "systemctl").write_text(SYSTEMCTL)
        (directory / "systemctl").chmod(0o755)

    def restart(self, *arguments: str, code: int = 0, patience: int = 60) -> list[str]:
        """Run restart-enclave; return what systemctl was told, without the question if it runs."""
        text = (DEPLOY / "restart-enclave").read_text()
        assert "longest_wait=60 " in text
        program = self.state / "restart-enclave"
        program.write_text(text.replace("longest_wait=60 ", f"longest_wait={patience} "))
        path = f"{self.state}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", program, *arguments],
            env={**os.environ, "PATH": path, "STATE": str(self.state)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        calls = self.state / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [line for line in lines if not line.startswith("is-active")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_it_holds_waits_restarts_and_goes_on(host: Host) -> None:
    assert host.restart() == [HOLD, SHOW, SHOW, RESTART, GO_ON]


def test_it_goes_on_when_the_enclave_does_not_start(host: Host) -> None:
    (host.state / "starts-not").touch()
    assert host.restart(code=1)[-2:] == [RESTART, GO_ON]


def test_it_does_not_wait_for_ever(host: Host) -> None:
    (host.state / "statuses").write_text("Held: 1 connection(s)\n")
    assert host.restart(patience=1)[-2:] == [RESTART, GO_ON]


def test_without_a_carrier_there_is_nothing_to_hold(host: Host) -> None:
    (host.state / "no-carrier").touch()
    assert host.restart() == [RESTART]


def test_a_further_enclave_has_its_own_carrier(host: Host) -> None:
    said = host.restart("2")
    assert [line.split()[-1] for line in said] == [
        *["oblivious-host-proxy@2.service"] * 3,
        "oblivious-enclave@2.service",
        "oblivious-host-proxy@2.service",
    ]


@pytest.mark.parametrize("argument", ["two", "--force", "-1"])
def test_what_is_no_instance_is_refused(host: Host, argument: str) -> None:
    assert host.restart(argument, code=2) == []
