"""The counters over HTTP, for one scraper or many, however many clients there are."""

import errno
import socket
from pathlib import Path
from typing import NoReturn

from host_proxy.loop import Loop
from host_proxy.metrics import PAUSE_SECONDS, MetricsServer
from tests.support.host_proxy_process import (
    accept,
    connect_tcp,
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
