"""Sockets to listen on, and the paths that they leave."""

import signal
import socket
from pathlib import Path

import pytest

from host_proxy.addresses import Activated, AddressError, Tcp, Unix, VsockUds
from host_proxy.listeners import Listeners
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


def test_a_path_is_removed_with_its_listener_and_no_other(tmp_path: Path) -> None:
    listeners = Listeners({})
    one = listeners.open(Unix(str(tmp_path / "one")))
    two = listeners.open(VsockUds(str(tmp_path / "two"), 8001))
    tcp = listeners.open(Tcp("127.0.0.1", 0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two_8001"]
    listeners.forget(tcp)
    listeners.forget(one)
    listeners.forget(one)  # once more does no harm
    assert [path.name for path in tmp_path.iterdir()] == ["two_8001"]
    (tmp_path / "two_8001").unlink()  # somebody else was faster
    listeners.forget_all()
    for listener in (one, two, tcp):
        listener.close()


def test_a_passed_socket_is_taken_once_and_keeps_its_path(tmp_path: Path) -> None:
    with listen_unix(tmp_path / "passed") as passed:
        listeners = Listeners({"ingress": passed})
        assert listeners.open(Activated("ingress")) is passed
        assert passed.gettimeout() == 0
        listeners.forget_all()
        assert (tmp_path / "passed").exists()  # it is systemd's
        with pytest.raises(AddressError, match="no socket of the name 'ingress'"):
            listeners.open(Activated("ingress"))


def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    options = ("--egress", f"unix:{tmp_path / 'a'}=127.0.0.1:1")
    with running(*options, "--egress", f"unix:{tmp_path / 'no' / 'b'}=127.0.0.1:1") as proxy:
        assert proxy.wait() == 1
    assert list(tmp_path.iterdir()) == []
