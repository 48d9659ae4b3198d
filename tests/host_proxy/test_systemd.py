"""What systemd hears, and what it hands over."""

import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
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

    def is_quiet(self) -> bool:
        """Whether nothing was said that it has not heard."""
        return not select.select([self._sock], [], [], 0)[0]

    def forget(self) -> None:
        """Hear no more of what was said before."""
        while not self.is_quiet():
            self._sock.recv(4096)

    def close(self) -> None:
        self._sock.close()


def test_a_sign_of_life_comes_twice_in_the_managers_time(tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    notifier = Notifier(manager.environment)
    asked: list[float] = []

    def every(seconds: float, sign: Callable[[], object]) -> None:
        asked.append(seconds)
        sign()

    notifier.live(every, None)
    assert manager.is_quiet()
    notifier.live(every, 30.0)
    assert manager.hears() == ["WATCHDOG=1"]
    assert asked == [15.0]
    manager.close()


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
    for text in ("²", "x", "-1", "9" * 5000):
        assert watchdog_seconds({"WATCHDOG_USEC": text}) is None
        assert passed_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": text}) == {}


def test_a_manager_that_has_gone_is_no_error(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    Notifier({"NOTIFY_SOCKET": "@host-proxy-test-nobody-listens"}).tell("READY=1")
    Notifier({}).tell("READY=1")


def test_it_tells_that_it_lives_when_descriptors_have_run_out(
    tmp_path: Path, upstream: socket.socket
) -> None:
    """Else the manager would end a process that carries all it can."""
    manager = Manager(tmp_path / "notify")
    environment = {**manager.environment, "WATCHDOG_USEC": "200000"}
    with running(*ingress(tmp_path), environment=environment) as proxy:
        port = proxy.ports()[0]
        used = len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (used, used))
        client = connect_tcp(port)
        proxy.event("out_of_descriptors")
        manager.forget()
        for _ in range(3):
            assert manager.hears() == ["WATCHDOG=1"]
        client.close()
    manager.close()


def test_an_abstract_address_is_heard_as_well() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"host-proxy-test-{os.getpid()}"
        sock.bind("\0" + name)
        sock.settimeout(DEADLINE)
        Notifier({"NOTIFY_SOCKET": "@" + name}).tell("READY=1", "STATUS=Here")
        assert sock.recv(100) == b"READY=1\nSTATUS=Here"


def test_a_socket_without_a_name_is_called_unknown() -> None:
    program = (
        "import os, socket; from host_proxy.systemd import passed_sockets;"
        "one, two = (socket.create_server(('127.0.0.1', 0)) for _ in '12');"
        "os.dup2(one.detach(), 10); os.dup2(two.detach(), 11); os.dup2(10, 3); os.dup2(11, 4);"
        "env = dict(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='ingress');"
        "passed = passed_sockets(env);"
        "print({name: sock.fileno() for name, sock in passed.items()}, env, os.get_inheritable(3))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=DEADLINE, check=True
    ).stdout.decode()
    assert shown == "{'ingress': 3, 'unknown': 4} {} False\n"
