"""The endpoint as a service: systemd takes the unit, launchd's is a list, commands are run."""

import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from oblivious_client.errors import ClientError, UsageError
from oblivious_client.local import units
from oblivious_client.local.units import Installed, install, launchd_plist, start, systemd_unit

COMMAND = [sys.executable, "-m", "oblivious_client", "serve", "--relay", "https://r.example/100%"]
NASTY = ['a b"c', "$HOME", "100%", "back\\slash", "'single'", ";"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
@pytest.mark.parametrize("command", [COMMAND, [sys.executable, *NASTY]])
def test_systemd_takes_the_unit(command: list[str], tmp_path: Path) -> None:
    installed = install(command, [10, 12], "linux")
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(installed.path)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(installed.path) not in done.stderr, done.stderr


def test_a_unit_says_the_words_and_when_to_leave_off() -> None:
    text = systemd_unit(["/bin/true", *NASTY], [10, 12])
    (line,) = [each for each in text.splitlines() if each.startswith("ExecStart=")]
    assert line == (
        'ExecStart="/bin/true" "a b\\"c" "$$HOME" "100%%" "back\\\\slash" "\'single\'" ";"'
    )
    assert "RestartPreventExitStatus=2 10 12\n" in text
    assert "WantedBy=default.target" in text


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("end", ["\nExecStartPost=/bin/true", "\0", "\r", "\x1b[2J", "\udcff"])
def test_a_word_that_would_be_more_than_a_word_is_refused(
    system: str, end: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no service can be told"):
        install([*COMMAND, "--pcrs", f"/a{end}"], [10], system)
    assert list(tmp_path.iterdir()) == []


def test_a_property_list_says_the_same() -> None:
    read = plistlib.loads(launchd_plist(COMMAND, Path("/log")))
    assert read["ProgramArguments"] == COMMAND
    assert read["KeepAlive"] == {"SuccessfulExit": False}
    assert read["RunAtLoad"] is True
    assert read["StandardErrorPath"] == "/log"
    assert read["ThrottleInterval"] == units.RESTART_SECONDS
    assert read["Umask"] == 0o077


def test_each_system_has_its_place_and_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux = install(COMMAND, [], "linux")
    assert linux.path == tmp_path / ".config/systemd/user/oblivious-client.service"
    assert [words[2:] for words in linux.commands] == [
        ("daemon-reload",),
        ("enable", "oblivious-client.service"),
        ("restart", "oblivious-client.service"),
    ]
    mac = install(COMMAND, [], "darwin")
    name = "org.oblivious-inference.client.plist"
    assert mac.path == tmp_path / "Library" / "LaunchAgents" / name
    assert mac.commands == (("launchctl", "bootstrap", f"gui/{os.getuid()}", str(mac.path)),)
    assert linux.path.is_file()
    assert mac.path.is_file()
    assert install(COMMAND, [], "linux") == linux  # in place of the former
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "else"))
    assert install(COMMAND, [], "linux").path.is_relative_to(tmp_path / "else")


def test_elsewhere_the_command_is_said() -> None:
    with pytest.raises(UsageError, match="no service manager") as caught:
        install(COMMAND, [], "win32")
    assert "--relay https://r.example/100%" in caught.value.advice


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        install(COMMAND, [], "linux")


def test_the_commands_are_run_in_their_order() -> None:
    run: list[Sequence[str]] = []
    start(Installed(Path("/unit"), (("one",), ("two", "words"))), run.append)
    assert run == [("one",), ("two", "words")]


def test_what_no_manager_takes_is_left_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    installed = Installed(Path("/unit"), (("no-such-manager", "a b"), ("two",)))
    with pytest.raises(ClientError, match="/unit is written, and no-such-manager") as caught:
        start(installed)
    assert caught.value.advice == "run by yourself: no-such-manager 'a b' && two"
    failing = Installed(Path("/unit"), ((sys.executable, "-c", "raise SystemExit(1)"),))
    with pytest.raises(ClientError):
        start(failing)
    assert units.RESTART_SECONDS == 30
