"""Stopping: what awaits its answer has its time, until somebody asks a second time."""

import signal
import socket
from pathlib import Path

import pytest

from tests.support.host_proxy_process import connected, ingress, read_exactly, running


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_what_awaits_its_answer(
    second: signal.Signals, tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*ingress(tmp_path, "--grace-seconds", "600")) as proxy:
        client, server = connected(proxy, upstream)
        with client, server:
            client.sendall(b"question")
            assert read_exactly(server, 8) == b"question"
            proxy.signal(signal.SIGTERM)
            proxy.event("draining")
            proxy.signal(second)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert proxy.wait() == 0
        assert len(proxy.events("draining")) == 1
        assert proxy.event("stopped")["routes"][0]["ended"]["drained"] == 1
