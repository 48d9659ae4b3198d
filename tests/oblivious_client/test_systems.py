"""Systems that lack what Linux has: each absence is simulated, and the commands work without it."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from oblivious_client import archive, provision
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import UsageError
from oblivious_client.exits import Exit
from oblivious_client.local.descriptors import affordable
from tests.support.gateway import MODEL, WORDS, StandInGateway

ROOT = Path(__file__).parents[2]
DEADLINE = 120.0

# What Windows does not have, and of it what macOS does not have either.
MODULES = ("resource", "fcntl", "termios", "pwd", "grp", "readline", "pty", "tty")
ABSENT = {
    "os": ("fchmod", "fchown", "chown", "getuid", "geteuid", "getgid", "fork", "register_at_fork"),
    "signal": ("pthread_sigmask", "pthread_kill", "sigwait", "SIGHUP", "SIGUSR1", "SIGKILL"),
    "socket": ("AF_UNIX", "SO_REUSEPORT", "AF_VSOCK"),
}
EVERYTHING = [*MODULES, *(f"{module}.{name}" for module, names in ABSENT.items() for name in names)]
EVERYTHING.append("add_signal_handler")

PREAMBLE = """\
import asyncio, importlib, socket, sys
def socketpair(*_):  # as Windows has it, whose pairs are connections
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return socket.create_connection(listener.getsockname()), listener.accept()[0]
for absent in {absent!r}:
    module, _, name = absent.partition(".")
    if absent == "add_signal_handler":
        def add_signal_handler(*_): raise NotImplementedError
        asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = add_signal_handler
        asyncio.unix_events._UnixSelectorEventLoop.remove_signal_handler = add_signal_handler
    elif not name:
        sys.modules[module] = None
    elif hasattr(importlib.import_module(module), name):
        delattr(sys.modules[module], name)
    if absent == "socket.AF_UNIX":
        socket.socketpair = socketpair
from oblivious_client.cli import main
sys.exit(main({words!r}))
"""


def command(absent: list[str], words: list[str]) -> list[str]:
    """Return the command line of the client on a system that lacks some things."""
    return [sys.executable, "-P", "-c", PREAMBLE.format(absent=absent, words=words)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folders = {f"XDG_{name}": str(tmp_path / name) for name in ("CACHE_HOME", "RUNTIME_DIR")}
    return {**os.environ, **folders, "PYTHONPATH": str(ROOT), "OBLIVIOUS_MODEL": MODEL}


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


def run(
    absent: list[str], environment: dict[str, str], *words: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(absent, list(words)),
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_a_question_and_its_evidence(
    gateway: StandInGateway, environment: dict[str, str], tmp_path: Path
) -> None:
    place = ["--relay", gateway.url, "--allow-simulated"]
    saved = str(tmp_path / "answer.json")
    asked = run(EVERYTHING, environment, "chat", *place, "--save", saved, "Hi")
    assert (asked.returncode, asked.stdout) == (Exit.OK, "".join(WORDS) + "\n"), asked.stderr
    for words in (["verify", *place], ["verify", "--allow-simulated", saved], ["keys", *place]):
        done = run(EVERYTHING, environment, *words)
        assert done.returncode == Exit.OK, done.stderr


@contextlib.contextmanager
def serving(
    absent: list[str], environment: dict[str, str], gateway: StandInGateway
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    words = ["serve", "--relay", gateway.url, "--allow-simulated", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command(absent, words), env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while (found := re.search(r"OPENAI_BASE_URL=(\S+)", said)) is None:
                line = process.stderr.readline()
                assert line, said
                said += line
            yield found[1], process
        finally:
            process.kill()


def test_the_local_endpoint(gateway: StandInGateway, environment: dict[str, str]) -> None:
    with serving(EVERYTHING, environment, gateway) as (url, process):
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as sdk:
            stream = sdk.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            texts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert "".join(texts) == "".join(WORDS)
        assert run(EVERYTHING, environment, "serve", "status").returncode == Exit.OK
        stopped = run(EVERYTHING, environment, "serve", "stop")
        assert stopped.returncode == Exit.OK, stopped.stderr
        assert process.wait(DEADLINE) == Exit.OK


@pytest.mark.parametrize(
    "absent", ["resource", "signal.pthread_sigmask", "socket.AF_UNIX", "add_signal_handler"]
)
def test_the_local_endpoint_without_one_of_them(
    absent: str, gateway: StandInGateway, environment: dict[str, str]
) -> None:
    with serving([absent], environment, gateway) as (_, process):
        process.terminate()
        assert process.wait(DEADLINE) == Exit.OK
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_absence_is_one(environment: dict[str, str]) -> None:
    """Were nothing taken away, nothing above would be shown."""
    code = command(EVERYTHING, ["--version"])
    code[-1] = code[-1].replace(
        "from oblivious_client.cli import main", "import os, signal, socket"
    )
    code[-1] = code[-1].rpartition("sys.exit")[0] + (
        "print([n for n in ('fchmod',) if hasattr(os, n)], hasattr(signal, 'pthread_sigmask'), "
        "hasattr(socket, 'AF_UNIX'), sys.modules['resource'])"
    )
    done = subprocess.run(code, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[] False False None\n"


def test_without_limits_of_descriptors_all_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert affordable(400, 32) == (400, 32)


def test_without_unix_sockets_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(UsageError, match="no Unix sockets"):
        Endpoint.parse(Role.RELAY, "unix:/run/relay")


def test_without_modes_nobody_is_warned_of_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secrets"
    file.write_text("")
    file.chmod(0o644)
    assert provision.is_open_to_others(file)
    monkeypatch.setattr(sys, "platform", "win32")
    assert not provision.is_open_to_others(file)
    monkeypatch.delattr(os, "fchmod")
    archive._keep_private(0)


def test_the_platforms_are_checked_for_types() -> None:
    check = (ROOT / "scripts" / "check").read_text()
    assert re.search(r"for system in win32 darwin", check)
