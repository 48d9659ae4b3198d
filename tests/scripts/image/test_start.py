"""What the enclave's start does as root, in which order, and that nothing after it is root."""

import os
import pathlib
import runpy
import sys
from collections.abc import Callable
from typing import Any, Self

import pytest

from scripts.image import recipe as image
from scripts.image.recipe import GUEST

NOBODY = 65534
COMMAND = ["/usr/bin/python3", "-m", "enclave_server"]


class Executed(Exception):
    """The server would run now."""


class Module:
    """The security module, as far as the start opens it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, *arguments: str
) -> list[tuple[Any, ...]]:
    """Run the start, without doing what only root may do; return what it would have done."""
    calls: list[tuple[Any, ...]] = []

    def noting(name: str) -> Callable[..., None]:
        return lambda *values, **more: calls.append((name, *values, *more.values()))

    def execute(*values: Any) -> None:
        calls.append(("execve", *values))
        raise Executed

    monkeypatch.setattr(os, "open", lambda path, flags: (path, flags))
    for name in (
        "dup2",
        "set_inheritable",
        "setgroups",
        "setresgid",
        "setresuid",
        "chown",
        "chdir",
    ):
        monkeypatch.setattr(os, name, noting(name))
    monkeypatch.setattr(os, "execve", execute)
    monkeypatch.setattr(pathlib.Path, "mkdir", noting("mkdir"))
    monkeypatch.setattr(pathlib.Path, "chmod", noting("chmod"))
    monkeypatch.setattr(pathlib.Path, "glob", lambda *_: [pathlib.Path("/dev/ptp0")])
    monkeypatch.setattr(sys, "argv", ["start.py", *arguments])
    command = tmp_path / "command"
    command.write_text("".join(f"{word}\n" for word in COMMAND))
    start = runpy.run_path(str(GUEST / "start.py"))
    replaced = {
        "SERVER": command,
        "NitroSecurityModule": Module,
        "mix_entropy": noting("mix_entropy"),
        "try_to_beat": noting("beat"),
    }
    start["main"].__globals__.update(replaced)
    with pytest.raises(Executed):
        start["main"]()
    return calls


def test_every_privilege_is_given_up_before_the_server_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    calls = started(monkeypatch, tmp_path)
    # Groups while it may still change them, the user last.
    assert calls[-4:-1] == [
        ("setgroups", []),
        ("setresgid", NOBODY, NOBODY, NOBODY),
        ("setresuid", NOBODY, NOBODY, NOBODY),
    ]
    name, program, command, environment = calls[-1]
    assert (name, program, command) == ("execve", COMMAND[0], COMMAND)
    assert set(environment) == {"PATH", "HOME", "TMPDIR", "LANG", "OMP_WAIT_POLICY"}


def test_what_is_done_as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    calls = started(monkeypatch, tmp_path)
    assert [name for name, *_ in calls[:3]] == ["beat", "mix_entropy", "dup2"]
    # The device stays root's; the server gets a descriptor under the number in its command.
    assert calls[2] == ("dup2", ("/dev/nsm", os.O_RDWR), 3)
    assert calls[3] == ("set_inheritable", 3, True)
    assert "fd:3" in image.COMMAND
    owned = [values for name, *values in calls if name == "chown"]
    assert owned == [["/run/oblivious", NOBODY, NOBODY]]
    # The hypervisor's clock may be read, and no more.
    assert ("chmod", pathlib.Path("/dev/ptp0"), 0o444) in calls
    assert ("mkdir", pathlib.Path("/run/oblivious"), 0o700) in calls


def test_the_heartbeat_is_sent_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    names = [name for name, *_ in started(monkeypatch, tmp_path, "--heartbeat-sent")]
    assert "beat" not in names
