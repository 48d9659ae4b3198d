"""The demo: one question through the whole path, or the path kept up; nothing left behind."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.haproxy import needs_haproxy

ROOT = Path(__file__).resolve().parents[3]
CLIENT = Path(sys.executable).parent / "oblivious-client"
DEADLINE_SECONDS = 300.0


def demo(*arguments: str) -> "subprocess.Popen[str]":
    """Start the demo, its set-up left out."""
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.local.demo", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Return how the demo ended, and what it wrote."""
    written, said = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, written, said


def processes_at(folder: str) -> list[str]:
    """Return the command lines of the processes that name `folder`, or work out of it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            variables = (entry / "environ").read_bytes().decode(errors="replace")
            if entry.name != str(os.getpid()) and (folder in line or folder in variables):
                found.append(line)
    return found


def eventually(holds: Callable[[], bool]) -> bool:
    """Say whether something comes true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def folder_in(said: str) -> str:
    """Return the folder that the demo keeps its sockets in."""
    found = re.search(r"unix:(\S+)/enclave\.sock", said)
    assert found is not None, said
    return found[1]


@contextlib.contextmanager
def serving(*options: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str], str]]:
    """Run `--serve`; give the process, its line of URLs, and its folder."""
    process = demo("--serve", *options)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        said = ""
        while "enclave.sock" not in said:
            said += process.stderr.readline()
        yield process, json.loads(line), folder_in(said)
    finally:
        process.kill()
        process.communicate()


def listens(url: str) -> bool:
    """Say whether anything takes connections at `url`."""
    parts = urllib.parse.urlsplit(url)
    with contextlib.suppress(OSError):
        socket.create_connection((parts.hostname, parts.port), 5).close()
        return True
    return False


def test_a_question_is_answered() -> None:
    status, answer, said = finished(demo("What is the capital of France?"))
    assert status == 0, said
    assert "Paris" in answer
    assert '"event"' not in answer
    assert "simulated" in said
    assert said.index("verified") < said.index("Answer:")
    folder = folder_in(said)
    assert not Path(folder).exists()
    assert processes_at(folder) == []


needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not here"
)


@needs_redis
def test_a_question_is_paid_for() -> None:
    status, answer, said = finished(demo("--paid", "What is the capital of France?"))
    assert status == 0, said
    assert "Paris" in answer
    wallets = re.findall(r"^c1 +(\d+) +0 +0 +0 ", said, re.MULTILINE)
    assert wallets == ["10", "9"]
    order = ["bought 10 tokens", "before the question", "tokens        catalogue", "Answer:"]
    places = [said.index(words) for words in [*order, "after the question"]]
    assert places == sorted(places)
    folder = folder_in(said)
    assert not Path(folder).exists()
    assert processes_at(folder) == []


@needs_redis
def test_a_paid_path_stays_up_with_a_voucher() -> None:
    with serving("--paid") as (process, urls, folder):
        assert set(urls) == {"relay", "gateway", "issuer", "voucher"}
        assert re.fullmatch(r"OBL-[A-Z2-7]{26}", urls["voucher"])
        assert all(listens(urls[name]) for name in ("relay", "gateway", "issuer"))
        process.send_signal(signal.SIGTERM)
        status, _, said = finished(process)
        assert status == 0, said
        assert processes_at(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_path_stays_up_until_it_is_told_to_end(number: signal.Signals) -> None:
    with serving() as (process, urls, folder):
        assert set(urls) == {"relay", "gateway"}
        assert all(listens(url) for url in urls.values())
        answers = [
            subprocess.run(
                [CLIENT, "chat", option, url, "--allow-simulated", "--no-cache", "Say hello."],
                capture_output=True,
                text=True,
                timeout=DEADLINE_SECONDS,
                check=False,
            )
            for option, url in (("--relay", urls["relay"]), ("--gateway", urls["gateway"]))
        ]
        assert [a.returncode for a in answers] == [0, 0], answers
        assert all(a.stdout.strip() for a in answers)
        process.send_signal(number)
        status, _, said = finished(process)
        assert status == 0, said
        assert "Traceback" not in said
        assert processes_at(folder) == []
        assert not Path(folder).exists()
        assert not any(listens(url) for url in urls.values())


def test_nothing_outlives_a_demo_that_is_killed() -> None:
    with serving() as (process, urls, folder):
        process.kill()
        process.wait(DEADLINE_SECONDS)
        assert eventually(lambda: processes_at(folder) == []), processes_at(folder)
        assert not any(listens(url) for url in urls.values())
        left = Path(folder)  # nobody is there to remove it, but its parts took their sockets away
        assert list(left.iterdir()) == []
        left.rmdir()


def test_a_part_that_dies_ends_the_demo_with_a_message() -> None:
    with serving() as (process, _, folder):
        relay = subprocess.run(
            ["pgrep", "-P", str(process.pid), "-f", "relay.py"],
            capture_output=True,
            text=True,
            check=True,
        )
        os.kill(int(relay.stdout), signal.SIGKILL)
        status, _, said = finished(process)
        assert status == 1
        assert "The relay ended by itself with status -9" in said
        assert processes_at(folder) == []


@needs_haproxy
@pytest.mark.slow
def test_a_member_that_is_killed_is_not_missed() -> None:
    """Three embedded models: some 30 s of CPU."""
    process = demo("--serve", "--enclaves", "3")
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        relay = json.loads(process.stdout.readline())["relay"]
        ask = [CLIENT, "chat", "--relay", relay, "--allow-simulated", "--no-cache", "Say hello."]
        line = next(each for each in process.stderr if "share one set of keys" in each)
        for member in re.findall(r"\d+", line.partition("keys:")[2])[:2]:
            os.killpg(int(member), signal.SIGKILL)
            said = next(each for each in process.stderr if "has ended" in each)
            assert re.fullmatch(r"The enclave server \d has ended; the others go on.\n", said)
            # What was told of before the kill is for nobody; who asks then asks again.
            assert eventually(lambda: subprocess.call(ask, stdout=subprocess.DEVNULL) == 0)
        process.send_signal(signal.SIGTERM)
        status, _, said = finished(process)
        assert status == 0, said
    finally:
        process.kill()
        process.communicate()


def test_interrupted_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    process = demo("--serve")
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    assert eventually(lambda: bool(Path(children).read_text()))
    process.send_signal(signal.SIGINT)
    status, written, said = finished(process)
    assert (status, written) == (0, ""), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((), "there is no question"),
        ((" ", ""), "there is no question"),
        (("--serve", "and ask"), "not allowed with argument --serve"),
        (("--no-such-option",), "unrecognized arguments: --no-such-option"),
    ],
)
def test_a_wrong_command_line_is_said_to_be_one(arguments: tuple[str, ...], fault: str) -> None:
    status, written, said = finished(demo(*arguments))
    assert (status, written) == (2, "")
    assert "usage: scripts/demo" in said
    assert fault in said


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    code, _, said = finished(demo("--serve", "--port", port))
    assert code == 2
    assert "--port" in said


def test_the_relay_listens_where_it_is_told_and_says_so_in_a_line_to_paste() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = demo("--serve", "--port", str(port))
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["relay"] == f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
    _, _, said = finished(process)
    assert f"  export OBLIVIOUS_RELAY=http://127.0.0.1:{port}\n" in said
