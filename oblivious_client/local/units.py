"""The endpoint as a service of its user: a unit of systemd, or a property list of launchd.

`serve install` writes the file with the very options that it was given, and has the service manager
start it now and at each login. Nothing of it needs an administrator.
"""

from __future__ import annotations

import os
import plistlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oblivious_client.errors import ClientError, UsageError

SYSTEMD_NAME = "oblivious-client.service"
LAUNCHD_NAME = "org.oblivious-inference.client"

MANAGER_SECONDS = 60
"""For the service manager to do what it is told."""

RESTART_SECONDS = 30
"""Before a service that failed is started again."""

Run = Callable[[Sequence[str]], None]

_UNIT = """\
[Unit]
Description=Local endpoint of Oblivious Inference
StartLimitIntervalSec=0

[Service]
ExecStart={command}
Restart=on-failure
RestartSec={seconds}
# What evidence or options do not allow does not mend by itself.
RestartPreventExitStatus=2 {refused}
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """The file that was written, and the commands that make it run."""

    path: Path
    commands: tuple[tuple[str, ...], ...]


def systemd_unit(command: Sequence[str], refused: Sequence[int]) -> str:
    """Return the unit that runs a command and starts it again unless it ended as `refused`."""
    words = " ".join(map(_quoted, command))
    codes = " ".join(map(str, refused))
    return _UNIT.format(command=words, seconds=RESTART_SECONDS, refused=codes)


def launchd_plist(command: Sequence[str], log: Path) -> bytes:
    """Return the property list that runs a command and starts it again if it failed."""
    return plistlib.dumps(
        {
            "Label": LAUNCHD_NAME,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": RESTART_SECONDS,
            "StandardErrorPath": str(log),
            "ProcessType": "Background",
            "Umask": 0o077,
        }
    )


def install(
    command: Sequence[str], refused: Sequence[int], platform: str = sys.platform
) -> Installed:
    """Write the file for this system's service manager; raises UsageError.

    There is none, or a word of the command would be another line of its file.
    """
    for word in command:
        if not word.isprintable():
            raise UsageError(
                f"no service can be told {word!r}", advice="name a path of printable characters"
            )
    home = Path.home()
    if platform == "linux":
        base = os.environ.get("XDG_CONFIG_HOME", "")
        root = Path(base) if Path(base).is_absolute() else home / ".config"
        path = root / "systemd" / "user" / SYSTEMD_NAME
        _write(path, systemd_unit(command, refused).encode())
        return Installed(
            path,
            (
                ("systemctl", "--user", "daemon-reload"),
                ("systemctl", "--user", "enable", SYSTEMD_NAME),
                # Not `start`: one that runs with the options of before is to have these.
                ("systemctl", "--user", "restart", SYSTEMD_NAME),
            ),
        )
    if platform == "darwin":
        path = home / "Library" / "LaunchAgents" / f"{LAUNCHD_NAME}.plist"
        _write(path, launchd_plist(command, home / "Library" / "Logs" / f"{LAUNCHD_NAME}.log"))
        domain = f"gui/{getattr(os, 'getuid', int)()}"
        return Installed(path, (("launchctl", "bootstrap", domain, str(path)),))
    raise UsageError(
        "this system has no service manager that is known here",
        advice="have your system run at each login: " + shlex.join(command),
    )


def start(installed: Installed, run: Run | None = None) -> None:
    """Have the service manager start it; raises ClientError, with the commands as advice."""
    for command in installed.commands:
        try:
            (run or _run)(command)
        except (OSError, subprocess.SubprocessError) as error:
            left = installed.commands[installed.commands.index(command) :]
            raise ClientError(
                f"{installed.path} is written, and {command[0]} did not take it",
                advice="run by yourself: " + " && ".join(map(shlex.join, left)),
            ) from error


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=MANAGER_SECONDS)


def _quoted(word: str) -> str:
    """Return a word as systemd reads it back (systemd.service(5), Command Lines)."""
    for plain, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(plain, written)
    return f'"{word}"'


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
