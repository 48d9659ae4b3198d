"""What systemd hears, and what it hands over."""

import os
import signal
import socket
from pathlib import Path

from host_proxy.systemd import Notifier, passed_sockets, watchdog_seconds
from tests.support.host_proxy_process import (
    DEADLINE,
    accept,
    connect_tcp,
    connected,
    ingress,
    read_exactly,
    running,
)


class Manager:
    """What a service manager hears."""

    def __init__(self, path: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(path)}
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.settimeout(DEADLINE)
        self._sock.bind(str(path))

    def hears(self) -> list[str]:
        return self._sock.recv(4096).decode().splitlines()

    def close(self) -> None:
        self._sock.close()


def test_it_tells_systemd_its_state_and_that_it_lives(
    tmp_path: Path, upstream: socket.socket
) -> None:
    manager = Manager(tmp_path / "notify")
    environment = {**manager.environment, "WATCHDOG_USEC": "400000"}
    with running(*ingress(tmp_path), environment=environment) as proxy:
        assert manager.hears()[0] == "READY=1"
        assert manager.hears() == ["WATCHDOG=1"]
        assert manager.hears() == ["WATCHDOG=1"]
        client, server = connected(proxy, upstream)
        proxy.signal(signal.SIGTERM)
        while (told := manager.hears()) == ["WATCHDOG=1"]:
            continue
        assert told == ["STOPPING=1"]
        assert manager.hears() == ["WATCHDOG=1"]  # while it drains as well
        client.close()
        server.close()
        assert proxy.wait() == 0
    manager.close()


ACTIVATE = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv.pop(1))))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="ingress")
print(listener.getsockname()[1], file=sys.stderr, flush=True)
os.execv(sys.executable, [sys.executable, "-m", "host_proxy", *sys.argv[1:]])
"""


def test_it_serves_the_socket_that_systemd_passes(tmp_path: Path, upstream: socket.socket) -> None:
    arguments = ("0", "--listen", "systemd:ingress", "--connect", f"unix:{tmp_path / 'up'}")
    with running(*arguments, program=ACTIVATE) as proxy:
        proxy.event("ready")
        with connect_tcp(int(proxy.lines[0])) as client, accept(upstream) as server:
            client.sendall(b"x")
            assert read_exactly(server, 1) == b"x"
            assert not os.get_inheritable(client.fileno())


def test_a_socket_that_systemd_did_not_pass_is_a_mistake(tmp_path: Path) -> None:
    arguments = ("--listen", "systemd:ingress", "--connect", f"unix:{tmp_path / 'up'}")
    with running(*arguments) as proxy:
        assert proxy.wait() == 2
        assert "no socket of the name 'ingress'" in proxy.lines[-1]


def test_a_descriptor_that_was_never_passed_is_a_mistake(tmp_path: Path) -> None:
    program = (
        "import os, sys; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='99');"
        "from host_proxy.cli import main; sys.exit(main())"
    )
    arguments = ("--listen", "systemd:unknown", "--connect", f"unix:{tmp_path / 'up'}")
    with running(*arguments, program=program) as proxy:
        assert proxy.wait() == 2
        assert "is not open" in proxy.lines[-1]


def test_sockets_are_taken_only_by_the_process_they_are_meant_for() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "ingress", "A": "b"}
    assert passed_sockets(environment) == {}
    assert environment == {"A": "b"}


def test_the_watchdog_is_kept_only_by_the_process_it_is_meant_for() -> None:
    assert watchdog_seconds({}) is None
    assert watchdog_seconds({"WATCHDOG_USEC": "0"}) is None
    assert watchdog_seconds({"WATCHDOG_USEC": "3000000"}) == 3.0
    assert watchdog_seconds({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}) is None


def test_a_manager_that_has_gone_is_no_error(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    Notifier({"NOTIFY_SOCKET": "@host-proxy-test-nobody-listens"}).tell("READY=1")
    Notifier({}).tell("READY=1")
