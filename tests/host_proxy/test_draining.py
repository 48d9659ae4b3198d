"""Connections end before a stop or a planned restart: the silent ones soon, none too early."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_proxy.draining import Hold
from host_proxy.loop import Loop
from tests.host_proxy.test_metrics import scrape
from tests.host_proxy.test_systemd import Manager
from tests.support.host_proxy_process import (
    DEADLINE,
    accept,
    connect_tcp,
    connect_unix,
    connected,
    ingress,
    listen_unix,
    read_all,
    read_exactly,
    running,
    until,
)

PATIENT = ("--grace-seconds", "600", "--quiet-seconds", "0.3")

# Listens, and runs one process after another on the same socket, as systemd does.
ACTIVATE_AND_STAY = """
import os, pathlib, signal, socket, subprocess, sys, time
enough = pathlib.Path(sys.argv.pop(2))
listener = socket.create_server(("127.0.0.1", int(sys.argv.pop(1))))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
print(listener.getsockname()[1], file=sys.stderr, flush=True)
code = "import os, runpy; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', " \
    "LISTEN_FDNAMES='ingress'); runpy.run_module('host_proxy', run_name='__main__')"
command = [sys.executable, "-c", code, *sys.argv[1:]]
first = subprocess.Popen(command, pass_fds=[3])
while not enough.exists():
    time.sleep(0.02)
first.send_signal(signal.SIGTERM)
if first.wait() == 0:
    os.execv(sys.executable, command)
"""


def exchange(client: socket.socket, server: socket.socket) -> None:
    """Ask and answer, and keep the connection for the next question."""
    client.sendall(b"question")
    assert read_exactly(server, 8) == b"question"
    server.sendall(b"answer")
    assert read_exactly(client, 6) == b"answer"


def test_a_kept_connection_does_not_hold_up_the_end(
    tmp_path: Path, upstream: socket.socket
) -> None:
    """Both peers see an orderly end: nothing of the answer may be lost to a reset."""
    with running(*ingress(tmp_path, *PATIENT)) as proxy:
        client, server = connected(proxy, upstream)
        unused, its_server = connected(proxy, upstream)  # a front's, before its first question
        with client, server, unused, its_server:
            exchange(client, server)
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
            for sock in (client, server, unused, its_server):
                assert read_all(sock) == b""
        ended = proxy.event("stopped")["routes"][0]["ended"]
        assert (ended["released"], ended["drained"], ended["aborted"]) == (2, 0, 0)


def test_what_awaits_an_answer_is_not_silent_however_long_it_takes(
    tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*ingress(tmp_path, *PATIENT)) as proxy:
        kept, waiting = connected(proxy, upstream), connected(proxy, upstream)
        exchange(*kept)
        exchange(*waiting)
        waiting[0].sendall(b"question")
        assert read_exactly(waiting[1], 8) == b"question"
        proxy.signal(signal.SIGTERM)
        assert read_all(kept[0]) == b""  # so the time of silence is over
        assert proxy.counters()["active"] == 1
        waiting[1].sendall(b"answer")
        assert read_all(waiting[0]) == b"answer"  # and then it is silent, too
        assert proxy.wait() == 0
        for sock in (*kept, *waiting):
            sock.close()


def test_a_second_of_silence_is_enough_only_after_a_drain_has_begun(
    tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*ingress(tmp_path, "--quiet-seconds", "0.01")) as proxy:
        client, server = connected(proxy, upstream)
        with client, server:
            for _ in range(3):
                exchange(client, server)
                time.sleep(0.1)
            exchange(client, server)
        until(lambda: proxy.counters()["active"] == 0)
        assert proxy.counters()["ended"]["released"] == 0


def test_clients_wait_for_the_next_process_where_systemd_keeps_the_socket(
    tmp_path: Path, upstream: socket.socket
) -> None:
    enough = tmp_path / "enough"
    listen = ("0", str(enough), "--listen", "systemd:ingress")
    with running(
        *listen, "--connect", f"unix:{tmp_path / 'up'}", *PATIENT, program=ACTIVATE_AND_STAY
    ) as proxy:
        proxy.event("ready")
        port = int(proxy.lines[0])
        with connect_tcp(port) as kept, accept(upstream) as server:
            exchange(kept, server)
            enough.touch()
            proxy.event("ready", 2)  # the first one was told to stop, and has
            with connect_tcp(port) as client, accept(upstream) as other:
                exchange(client, other)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0


def test_ways_out_stay_open_while_something_is_under_way(
    tmp_path: Path, upstream: socket.socket
) -> None:
    """A question that came before the signal may yet have to be asked of a provider."""
    out = f"unix:{tmp_path / 'out'}=unix:{tmp_path / 'provider'}"
    with (
        listen_unix(tmp_path / "provider") as provider,
        running(*ingress(tmp_path, "--egress", out, *PATIENT)) as proxy,
    ):
        client, server = connected(proxy, upstream)
        client.sendall(b"question")
        assert read_exactly(server, 8) == b"question"
        proxy.signal(signal.SIGTERM)
        proxy.event("draining")
        enclave = connect_unix(tmp_path / "out")
        with accept(provider) as sock:
            exchange(enclave, sock)
            server.sendall(b"answer")
            server.close()
            assert read_all(client) == b"answer"
            assert read_all(sock) == b""  # nobody is left who could need the provider
            assert proxy.wait() == 0
        assert not (tmp_path / "out").exists()
        enclave.close()
        client.close()


def test_a_provider_may_be_silent_for_the_whole_time(tmp_path: Path) -> None:
    out = f"unix:{tmp_path / 'out'}=unix:{tmp_path / 'provider'}"
    options = ("--egress", out, "--grace-seconds", "600", "--quiet-seconds", "0.05")
    with listen_unix(tmp_path / "provider") as provider, running(*options) as proxy:
        proxy.event("ready")
        with connect_unix(tmp_path / "out") as enclave, accept(provider) as sock:
            exchange(enclave, sock)
            proxy.signal(signal.SIGTERM)
            proxy.event("draining")
            until(lambda: not (tmp_path / "out").exists())
            time.sleep(0.5)
            sock.sendall(b"and another thought")
            assert read_exactly(enclave, 19) == b"and another thought"
        assert proxy.wait() == 0
        assert proxy.event("stopped")["routes"][0]["ended"]["released"] == 0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_a_hold_empties_the_ingress_and_refuses_nobody(
    tmp_path: Path, upstream: socket.socket, manager: Manager
) -> None:
    options = ingress(tmp_path, *PATIENT, "--metrics", "tcp://127.0.0.1:0")
    with running(*options, environment=manager.environment) as proxy:
        port, metrics = proxy.ports()
        assert manager.hears()[0] == "READY=1"
        kept, busy = connected(proxy, upstream), connected(proxy, upstream)
        exchange(*kept)
        busy[0].sendall(b"question")
        assert read_exactly(busy[1], 8) == b"question"
        for _ in range(2):  # asked twice it is the same hold
            proxy.signal(signal.SIGUSR2)
        assert proxy.event("held")["connections"] == 2
        assert manager.hears() == ["STATUS=Held: 2 connection(s)"]
        late = connect_tcp(port)
        late.sendall(b"question")
        assert read_all(kept[0]) == b""
        assert proxy.counters()["active"] == 1
        assert proxy.counters()["held"] is True
        assert b'host_proxy_held{route="ingress"} 1' in scrape(metrics, b"GET /metrics \r\n\r\n")
        busy[1].sendall(b"answer")
        busy[1].close()
        assert read_all(busy[0]) == b"answer"
        proxy.event("drained")
        assert manager.hears() == ["STATUS=Held: drained"]
        assert proxy.counters()["accepted"] == 2  # not the late one
        for _ in range(2):
            proxy.signal(signal.SIGCONT)
        with accept(upstream) as server:
            assert read_exactly(server, 8) == b"question"
        assert manager.hears() == ["STATUS=Carrying on"]
        assert proxy.counters()["held"] is False
        assert (len(proxy.events("held")), len(proxy.events("resumed"))) == (1, 1)
        for sock in (*kept, busy[0], late):
            sock.close()


def test_what_outlasts_the_time_of_a_hold_is_ended_and_who_waits_goes_on_waiting(
    tmp_path: Path,
) -> None:
    options = ingress(tmp_path, "--grace-seconds", "0.2", "--retry-seconds", str(DEADLINE))
    with running(*options) as proxy:
        with listen_unix(tmp_path / "up") as upstream:
            client, server = connected(proxy, upstream)
        client.sendall(b"question")
        assert read_exactly(server, 8) == b"question"
        (tmp_path / "up").unlink()
        waiting = connect_tcp(proxy.ports()[0])
        waiting.sendall(b"question")
        until(lambda: proxy.counters()["active"] == 2)
        proxy.signal(signal.SIGUSR2)
        proxy.event("drained")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert proxy.counters()["ended"]["drained"] == 1
        with listen_unix(tmp_path / "up") as upstream, accept(upstream) as restarted:
            assert read_exactly(restarted, 8) == b"question"
        for sock in (client, server, waiting):
            sock.close()


def test_a_stop_in_a_hold_is_a_stop(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*ingress(tmp_path, *PATIENT)) as proxy:
        client, server = connected(proxy, upstream)
        client.sendall(b"question")
        assert read_exactly(server, 8) == b"question"
        proxy.signal(signal.SIGUSR2)
        proxy.event("held")
        proxy.signal(signal.SIGTERM)
        proxy.event("draining")
        for number in (signal.SIGUSR2, signal.SIGCONT):  # systemd sends the latter as well
            proxy.signal(number)
        proxy.counters()
        server.close()
        assert read_all(client) == b""
        client.close()
        assert proxy.wait() == 0
        assert proxy.events("drained") == proxy.events("resumed") == []


def test_a_hold_that_nobody_ends_is_over_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_proxy.draining.LONGEST_HOLD_SECONDS", 0.1)
    loop = Loop()
    said: list[str] = []

    def say(words: str) -> None:
        said.append(words)
        if words == "Carrying on":
            loop.stop()

    hold = Hold(loop, [], quiet_seconds=1, grace_seconds=1, say=say)
    hold.end()  # there is none
    loop.later(DEADLINE, loop.stop)
    for _ in range(2):
        loop.later(0, hold.begin)
        loop.run()
    loop.shut_down()
    assert said == ["Held: 0 connection(s)", "Held: drained", "Carrying on"] * 2
