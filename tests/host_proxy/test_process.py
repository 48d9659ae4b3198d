"""The host-proxy process: signals, drain, caps, idle time, metrics, systemd."""

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from host_proxy.loop import Loop
from host_proxy.metrics import PAUSE_SECONDS, MetricsServer
from host_proxy.systemd import Notifier, passed_sockets, watchdog_seconds
from tests.support.host_proxy_process import (
    DEADLINE,
    ProxyProcess,
    accept,
    connect_tcp,
    connect_unix,
    listen_unix,
    read_all,
    read_exactly,
    running,
    until,
)

SECRET = b"the-words-that-no-log-may-hold"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[socket.socket]:
    with listen_unix(tmp_path / "up") as listener:
        yield listener


def options(tmp_path: Path, *more: str) -> tuple[str, ...]:
    return ("--listen", "tcp://127.0.0.1:0", "--connect", f"unix:{tmp_path / 'up'}", *more)


def connected(proxy: ProxyProcess, upstream: socket.socket) -> tuple[socket.socket, socket.socket]:
    return connect_tcp(proxy.ports()[0]), accept(upstream)


def test_sigterm_lets_connections_end_and_exits_0(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*options(tmp_path)) as proxy:
        client, server = connected(proxy, upstream)
        with client, server:
            client.sendall(b"question")
            proxy.signal(signal.SIGTERM)
            proxy.event("draining")
            until(lambda: _refused(proxy.ports()[0]))
            assert read_exactly(server, 8) == b"question"
            server.sendall(b"answer")
            server.close()
            assert read_all(client) == b"answer"
        assert proxy.wait() == 0
        assert proxy.event("stopped")["routes"][0]["ended"]["finished"] == 1


def _refused(port: int) -> bool:
    try:
        connect_tcp(port).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_ends_what_outlasts_the_grace_time(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*options(tmp_path, "--grace-seconds", "0.2")) as proxy:
        client, server = connected(proxy, upstream)
        with client, server:
            proxy.signal(signal.SIGTERM)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert server.recv(1) == b""
        assert proxy.wait() == 0
        assert proxy.event("stopped")["routes"][0]["ended"]["drained"] == 1


def test_a_second_signal_ends_at_once(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*options(tmp_path, "--grace-seconds", "600")) as proxy:
        client, server = connected(proxy, upstream)
        with client, server:
            proxy.signal(signal.SIGINT)
            proxy.event("draining")
            proxy.signal(signal.SIGINT)
            assert proxy.wait() == 0


def test_an_idle_connection_is_ended_and_a_busy_one_is_not(
    tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*options(tmp_path, "--idle-seconds", "4")) as proxy:
        idle, busy = connected(proxy, upstream), connected(proxy, upstream)
        end, sent = time.monotonic() + DEADLINE, 0
        while not select.select([idle[0]], [], [], 0.1)[0]:
            assert time.monotonic() < end
            busy[0].sendall(b"x")
            sent += 1
        with pytest.raises(ConnectionResetError):
            idle[0].recv(1)
        assert read_exactly(busy[1], sent) == b"x" * sent
        assert proxy.counters()["ended"]["idle"] == 1
        for sock in (*idle, *busy):
            sock.close()


def test_connections_above_the_cap_are_closed_at_once(
    tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*options(tmp_path, "--connections", "2")) as proxy:
        pairs = [connected(proxy, upstream) for _ in range(2)]
        with connect_tcp(proxy.ports()[0]) as surplus:
            assert surplus.recv(1) == b""
        pairs[0][0].close()
        pairs[0][1].close()
        until(lambda: proxy.counters()["active"] == 1)
        assert proxy.counters()["refused"] == 1
        again = connected(proxy, upstream)
        for sock in (*pairs[1], *again):
            sock.close()


def test_running_out_of_descriptors_ends_nothing(tmp_path: Path, upstream: socket.socket) -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40));"
        "from host_proxy.cli import main; sys.exit(main())"
    )
    with running(*options(tmp_path, "--retry-seconds", "0.1"), program=program) as proxy:
        port = proxy.ports()[0]
        assert proxy.event("few_descriptors")["have"] == 40
        clients = [connect_tcp(port) for _ in range(60)]
        until(lambda: len(list(Path(f"/proc/{proxy.pid}/fd").iterdir())) == 40)
        for client in clients:
            client.close()
        upstream.setblocking(False)
        until(lambda: _all_have_gone(proxy, upstream, 60))
        _close_all(upstream)
        upstream.settimeout(DEADLINE)
        client, server = connected(proxy, upstream)
        client.sendall(b"still here")
        assert read_exactly(server, 10) == b"still here"
        client.close()
        server.close()


def _all_have_gone(proxy: ProxyProcess, upstream: socket.socket, count: int) -> bool:
    _close_all(upstream)
    counters = proxy.counters()
    return (counters["accepted"], counters["active"]) == (count, 0)


def _close_all(upstream: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            upstream.accept()[0].close()


def test_counters_tell_numbers_and_nothing_that_was_carried(
    tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*options(tmp_path)) as proxy:
        client, server = connected(proxy, upstream)
        with client, server:
            client.sendall(SECRET)
            assert read_exactly(server, len(SECRET)) == SECRET
            server.sendall(b"x" * 1000)
            read_exactly(client, 1000)
            counters = proxy.counters()
        assert counters["bytes"] == {"to_upstream": len(SECRET), "to_client": 1000}
        assert counters["accepted"] == counters["active"] == 1
        proxy.signal(signal.SIGTERM)
        proxy.wait()
        assert SECRET.decode() not in "".join(proxy.lines)
        assert "127.0.0.1" not in "".join(proxy.lines[1:])  # the first tells where it listens


def scrape(port: int, request: bytes) -> bytes:
    with connect_tcp(port) as sock:
        sock.sendall(request)
        return read_all(sock)


def test_metrics_are_served_as_prometheus_text(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*options(tmp_path, "--metrics", "tcp://127.0.0.1:0")) as proxy:
        _, metrics = proxy.ports()
        with connect_tcp(proxy.ports()[0]) as client, accept(upstream) as server:
            client.sendall(b"12345")
            read_exactly(server, 5)
            answer = scrape(metrics, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 OK")
        assert f"Content-Length: {len(body)}".encode() in head
        lines = body.decode().splitlines()
        assert 'host_proxy_connections_active{route="ingress"} 1' in lines
        carried = 'host_proxy_carried_bytes_total{route="ingress",direction="to_upstream"} 5'
        assert carried in lines
        assert scrape(metrics, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 404")
        assert scrape(metrics, b"G" * 5000) == b""


def test_a_crowd_of_slow_scrapers_is_kept_out(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*options(tmp_path, "--metrics", "tcp://127.0.0.1:0")) as proxy:
        _, metrics = proxy.ports()
        crowd = [connect_tcp(metrics) for _ in range(16)]
        with connect_tcp(metrics) as surplus:
            assert surplus.recv(1) == b""
        for sock in crowd:
            sock.close()
        until(lambda: _can_scrape(metrics))


class _Spent(socket.socket):
    """A listener of a process that is out of descriptors."""

    attempts = 0

    def accept(self) -> NoReturn:
        self.attempts += 1
        raise OSError(errno.EMFILE, "too many open files")


def test_a_scraper_that_cannot_be_accepted_keeps_nobody_busy() -> None:
    loop = Loop()
    with _Spent() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = MetricsServer(loop, listener, bytes)
        with connect_tcp(listener.getsockname()[1]):
            loop.later(2.5 * PAUSE_SECONDS, loop.stop)
            loop.run()
            assert 1 <= listener.attempts <= 3
            server.close()
            loop.later(2 * PAUSE_SECONDS, loop.stop)  # what was to go on finds it closed
            loop.run()
    loop.shut_down()


def _can_scrape(port: int) -> bool:
    try:
        return b"200 OK" in scrape(port, b"GET /metrics HTTP/1.0\r\n\r\n")
    except (ConnectionResetError, BrokenPipeError):
        return False


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
    with running(*options(tmp_path), environment=environment) as proxy:
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


def test_its_logs_are_json_lines(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*options(tmp_path)) as proxy:
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


def test_the_command_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "host_proxy", "--help"],
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    ).stdout.decode()
    for word in ("vsock-uds:PATH:PORT", "--egress", "SIGUSR1", "exit:", "TOML"):
        assert word in shown


def test_descriptors_are_enough_for_the_cap(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(*options(tmp_path, "--connections", "100")) as proxy:
        proxy.ports()
        soft = int(
            Path(f"/proc/{proxy.pid}/limits").read_text().split("Max open files")[1].split()[0]
        )
        assert soft >= min(hard, 2 * 100)
