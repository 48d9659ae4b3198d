"""Sockets to listen on, and the paths that they leave."""

import signal
import socket
from pathlib import Path

from tests.support.host_proxy_process import (
    accept,
    connect_unix,
    listen_unix,
    read_exactly,
    running,
)


def test_it_listens_where_a_dead_process_left_its_socket(
    tmp_path: Path, upstream: socket.socket
) -> None:
    path = tmp_path / "in"
    arguments = ("--listen", f"unix:{path}", "--connect", f"unix:{tmp_path / 'up'}")
    with running(*arguments) as first:
        first.event("ready")
        with running(*arguments) as second:
            assert second.wait() == 1  # the first is alive
            assert "cannot listen on unix:" in second.lines[-1]
        first.signal(signal.SIGKILL)
        first.wait()
    assert path.exists()
    third_upstream = listen_unix(tmp_path / "third")
    arguments = ("--listen", f"unix:{path}", "--connect", f"unix:{tmp_path / 'third'}")
    with third_upstream, running(*arguments) as third:
        third.event("ready")
        with connect_unix(path) as client, accept(third_upstream) as server:
            client.sendall(b"x")
            assert read_exactly(server, 1) == b"x"
        third.signal(signal.SIGTERM)
        assert third.wait() == 0
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_text("precious")
    with running("--listen", f"unix:{path}", "--connect", f"unix:{tmp_path / 'up'}") as proxy:
        assert proxy.wait() == 1
    assert path.read_text() == "precious"
