"""The host-proxy process: signals, drain, caps, idle time, metrics, systemd."""

import contextlib
import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from host_proxy.addresses import ListenError, Tcp, Unix
from host_proxy.loop import Loop
from host_proxy.options import Hole, Options
from host_proxy.proxy import Proxy
from host_proxy.systemd import Notifier
from tests.host_proxy.test_service import logged
from tests.host_proxy.test_systemd import Manager
from tests.support.host_proxy_process import (
    DEADLINE,
    ProxyProcess,
    connect_tcp,
    connected,
    ingress,
    read_all,
    read_exactly,
    running,
    until,
)

SECRET = b"the-words-that-no-log-may-hold"


def test_sigterm_lets_connections_end_and_exits_0(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*ingress(tmp_path)) as proxy:
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
    with running(*ingress(tmp_path, "--grace-seconds", "0.2")) as proxy:
        client, server = connected(proxy, upstream)
        with client, server:
            proxy.signal(signal.SIGTERM)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert server.recv(1) == b""
        assert proxy.wait() == 0
        assert proxy.event("stopped")["routes"][0]["ended"]["drained"] == 1


def test_a_second_signal_ends_at_once(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*ingress(tmp_path, "--grace-seconds", "600")) as proxy:
        client, server = connected(proxy, upstream)
        with client, server:
            proxy.signal(signal.SIGINT)
            proxy.event("draining")
            proxy.signal(signal.SIGINT)
            assert proxy.wait() == 0


def test_an_idle_connection_is_ended_and_a_busy_one_is_not(
    tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*ingress(tmp_path, "--idle-seconds", "4")) as proxy:
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
    with running(*ingress(tmp_path, "--connections", "2")) as proxy:
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
    with running(*ingress(tmp_path, "--retry-seconds", "0.1"), program=program) as proxy:
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
    with running(*ingress(tmp_path)) as proxy:
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


# In this process: what is looked at how often, what is told, and what is left.


def options_in(folder: Path, idle: float = 900.0) -> Options:
    hole = Hole(Unix(str(folder / "out")), Tcp("provider.example", 443))
    up = Unix(str(folder / "up"))
    listen = Unix(str(folder / "in"))
    return Options(listen=listen, connect=up, egress=(hole,), idle_seconds=idle)


@pytest.mark.usefixtures("signals_kept")
@pytest.mark.parametrize(("idle", "seconds"), [(8.0, 2.0), (40.0, 10.0), (900.0, 10.0)])
def test_it_looks_for_idle_connections_in_time_and_says_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: float, seconds: float
) -> None:
    asked: list[float] = []

    def every(loop: Loop, seconds: float, callback: Callable[[], object]) -> None:
        asked.append(seconds)
        callback()

    monkeypatch.setattr(Loop, "every", every)
    manager = Manager(tmp_path / "notify")
    notifier = Notifier(manager.environment)
    proxy = Proxy(options_in(tmp_path, idle), notifier=notifier, watchdog=30.0)
    proxy.open()
    proxy._loop.post(proxy._loop.stop)
    assert proxy.run() == 0
    assert asked == [seconds, 15.0]
    assert manager.hears() == ["WATCHDOG=1"]
    assert manager.hears() == ["READY=1", "STATUS=Carrying on 2 route(s)"]
    assert manager.is_quiet()
    manager.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.usefixtures("signals_kept")
def test_from_its_beginning_to_its_end_it_tells_its_routes_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = descriptors()
    proxy = Proxy(options_in(tmp_path))
    proxy.open()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    proxy._loop.later(0.0, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    proxy._loop.later(0.01, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert proxy.run() == 0
    events = logged(capsys)
    names = [event["event"] for event in events]
    assert names == ["listening"] * 2 + ["ready", "counters", "draining", "stopped"]
    assert events[2]["routes"] == ["ingress", "provider.example:443"]
    for event in (events[3], events[5]):
        assert event["pipes"] == 0
        assert [route["route"] for route in event["routes"]] == events[2]["routes"]
    assert events[4]["connections"] == 0
    assert not list(tmp_path.iterdir())
    assert descriptors() == before


@pytest.mark.parametrize("taken", ["out", "metrics"])
def test_who_cannot_listen_everywhere_listens_nowhere(tmp_path: Path, taken: str) -> None:
    before = descriptors()
    (tmp_path / taken).mkdir()
    options = options_in(tmp_path)
    if taken == "metrics":
        there = Unix(str(tmp_path / "metrics"))
        options = Options(options.listen, options.connect, options.egress, there)
    with pytest.raises(ListenError):
        Proxy(options).open()
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert descriptors() == before
    with socket.socket(socket.AF_UNIX) as late:
        assert late.connect_ex(str(tmp_path / "in")) == errno.ENOENT
