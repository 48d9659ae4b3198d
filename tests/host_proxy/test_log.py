"""One JSON line for each event, and never too many."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

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
