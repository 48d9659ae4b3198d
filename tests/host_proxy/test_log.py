"""One JSON line for each event, and never too many."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest

from host_proxy.log import Seldom, log
from tests.support.host_proxy_process import (
    DEADLINE,
    accept,
    connect_unix,
    ingress,
    read_exactly,
    running,
)


def test_its_logs_are_json_lines(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*ingress(tmp_path)) as proxy:
        proxy.ports()
        proxy.signal(signal.SIGTERM)
        proxy.wait()
        assert [json.loads(line)["event"] for line in proxy.lines][-2:] == ["draining", "stopped"]


def test_it_goes_on_when_nobody_reads_its_log(tmp_path: Path, upstream: socket.socket) -> None:
    path = tmp_path / "in"
    command = [sys.executable, "-m", "host_proxy", "--listen", f"unix:{path}"]
    command += ["--connect", f"unix:{tmp_path / 'up'}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while b"ready" not in process.stderr.readline():
            continue
        process.stderr.close()
        process.send_signal(signal.SIGUSR1)
        with connect_unix(path) as client, accept(upstream) as server:
            process.send_signal(signal.SIGUSR1)
            client.sendall(b"x")
            assert read_exactly(server, 1) == b"x"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def test_what_may_happen_often_is_told_seldom_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    seldom = Seldom("often", lambda: now)
    for moment in (100.0, 100.1, 100.2, 100.999, 101.0, 101.5, 109.0):
        now = moment
        seldom.tell()
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["times"]) for line in told] == [
        ("often", 1),
        ("often", 4),
        ("often", 2),
    ]


def test_a_log_that_is_full_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, b"x")
    os.set_blocking(write_end, True)  # a write would wait from now on
    with os.fdopen(write_end, "w") as stream, os.fdopen(read_end, "rb") as reader:
        monkeypatch.setattr(sys, "stderr", stream)
        log("lost")
        os.set_blocking(read_end, False)
        assert b"lost" not in reader.read()
        log("kept", figure=1)
        assert json.loads(reader.read()) == {"time": ANY, "event": "kept", "figure": 1}
