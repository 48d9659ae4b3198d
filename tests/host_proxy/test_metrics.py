"""The counters over HTTP, for one scraper or many, however many clients there are."""

import errno
import os
import re
import resource
import socket
import time
from pathlib import Path
from typing import NoReturn

import pytest

from host_proxy.loop import Loop
from host_proxy.metrics import PAUSE_SECONDS, MetricsServer, Reserve, Scrape
from tests.support.host_proxy_process import (
    DEADLINE,
    accept,
    connect_tcp,
    in_background,
    ingress,
    read_all,
    read_exactly,
    running,
    until,
)


def scrape(port: int, request: bytes) -> bytes:
    with connect_tcp(port) as sock:
        sock.sendall(request)
        return read_all(sock)


def test_metrics_are_served_as_prometheus_text(tmp_path: Path, upstream: socket.socket) -> None:
    with running(*ingress(tmp_path, "--metrics", "tcp://127.0.0.1:0")) as proxy:
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
    with running(*ingress(tmp_path, "--metrics", "tcp://127.0.0.1:0")) as proxy:
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


def answers(path: str, piece: bytes = b"") -> bytes:
    return b"GET " + path.encode() + b" HTTP/1.1\r\n" + piece + b"\r\n"


def test_metrics_answer_when_descriptors_have_run_out(
    tmp_path: Path, upstream: socket.socket
) -> None:
    """Clients take all that there are and wait for more; scrapers come one after another."""
    with running(*ingress(tmp_path, "--metrics", "tcp://127.0.0.1:0")) as proxy:
        port, metrics = proxy.ports()
        used = len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))
        limit = used + 9  # four clients, their upstreams, and a client without one
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (limit, limit))
        clients = [connect_tcp(port) for _ in range(20)]
        proxy.event("out_of_descriptors")
        for _ in range(5):
            answer = scrape(metrics, answers("/metrics"))
            assert answer.startswith(b"HTTP/1.0 200 OK")
            shortages = re.search(rb'shortages_total\{route="ingress"\} (\d+)', answer)
            assert shortages is not None
            assert int(shortages[1]) > 0
        crowd = [connect_tcp(metrics) for _ in range(3)]  # each has to wait for the one before
        for sock in crowd:
            sock.sendall(answers("/metrics"))
            assert read_all(sock).startswith(b"HTTP/1.0 200 OK")
            sock.close()
        for client in clients:
            client.close()


def test_what_is_scarce_is_told_once_a_second_however_often_it_happens(
    tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*ingress(tmp_path)) as proxy:
        port = proxy.ports()[0]
        used = len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (used, used))
        clients = [connect_tcp(port) for _ in range(5)]
        first, second = (proxy.event("out_of_descriptors", count) for count in (1, 2))
        assert second["time"] - first["time"] > 0.9
        assert first["times"] == 1
        assert second["times"] > 1  # what was not told meanwhile is counted
        for client in clients:
            client.close()


def test_a_scraper_that_sends_piece_by_piece_or_hangs_up_is_served_or_let_go(
    tmp_path: Path, upstream: socket.socket
) -> None:
    with running(*ingress(tmp_path, "--metrics", "tcp://127.0.0.1:0")) as proxy:
        _, metrics = proxy.ports()
        before = len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))
        with connect_tcp(metrics) as sock:
            sock.sendall(b"GET /metrics HT")
            time.sleep(0.05)
            sock.sendall(b"TP/1.0\r\n\r\n")
            assert read_all(sock).startswith(b"HTTP/1.0 200 OK")
        for linger in (b"\0\0\0\0\0\0\0\0", b"\1\0\0\0\0\0\0\0") * 10:  # in order, by a reset
            with connect_tcp(metrics) as sock:
                sock.sendall(b"GET /metrics")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        until(lambda: len(list(Path(f"/proc/{proxy.pid}/fd").iterdir())) == before)


def served(text: bytes) -> tuple[Loop, MetricsServer, int]:
    loop = Loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return loop, MetricsServer(loop, listener, lambda: text), listener.getsockname()[1]


def test_a_scrape_that_is_over_is_not_given_up_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_proxy.metrics.REQUEST_SECONDS", 0.01)
    loop = Loop()
    closed: list[object] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        over = Scrape(loop, ours, bytes, closed.append)
        over.close()
        assert closed == [over]
        loop.later(0.05, loop.stop)
        loop.run()
        assert closed == [over]
    loop.shut_down()


def test_a_scraper_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_proxy.metrics.REQUEST_SECONDS", 0.05)
    loop, server, port = served(b"")
    with connect_tcp(port) as sock:
        ended: list[bytes] = []
        reader = in_background(lambda: ended.append(sock.recv(1)))
        loop.later(0.5, loop.stop)
        loop.run()
        reader.join(DEADLINE)
        assert ended == [b""]
    server.close()
    loop.shut_down()


def test_an_answer_larger_than_the_sockets_buffers_arrives_whole() -> None:
    text = b"x" * (8 << 20)
    loop, server, port = served(text)
    with connect_tcp(port) as sock:
        got: list[bytes] = []

        def read() -> None:
            sock.sendall(answers("/metrics"))
            got.append(read_all(sock))
            loop.post(loop.stop)

        reader = in_background(read)
        loop.later(DEADLINE, loop.stop)
        loop.run()
        reader.join(DEADLINE)
        assert got[0].endswith(b"\r\n\r\n" + text)
    server.close()
    loop.shut_down()


def test_a_scraper_that_reads_nothing_holds_nobody_up() -> None:
    loop, server, port = served(b"x" * (32 << 20))
    with connect_tcp(port) as sock:
        sock.sendall(answers("/metrics"))
        loop.later(0.2, loop.stop)
        loop.run()
        assert len(server._scrapes) == 1  # which waits for its reader
    server.close()
    loop.shut_down()


def test_its_end_leaves_no_descriptor_and_closes_what_is_under_way() -> None:
    before = set(Path("/proc/self/fd").iterdir())
    loop, server, port = served(b"")
    socks = [connect_tcp(port) for _ in range(3)]
    loop.later(0.2, loop.stop)
    loop.run()
    server.close()
    loop.shut_down()
    for sock in socks:
        assert sock.recv(1) == b""
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        connect_tcp(port)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_the_reserve_comes_back_in_the_place_of_the_scrapers_socket() -> None:
    with socket.socket() as file:
        reserve = Reserve(file)
        one, other = socket.socketpair()
        number = one.fileno()
        assert not reserve.replace(one)  # nothing is wanting
        reserve.lend()
        reserve.lend()  # once more does no harm
        assert reserve.replace(one)
        assert other.recv(1) == b""  # the socket is closed
        numbers = (number, file.fileno())
        assert len({Path(f"/proc/self/fd/{n}").readlink() for n in numbers}) == 1
        assert not os.get_inheritable(number)
        reserve.lend()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        other.close()
