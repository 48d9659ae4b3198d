"""A scraper when there is no descriptor left, and after its end: nothing of it stays behind."""

import os
import resource
import select
import socket
from collections.abc import Iterator

import pytest

from host_proxy.loop import Loop
from host_proxy.metrics import SCRAPERS, MetricsServer
from tests.support.host_proxy_process import DEADLINE, connect_tcp, in_background, read_all

REQUEST = b"GET /metrics HTTP/1.0\r\n\r\n"


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    made.later(DEADLINE, made.stop)
    yield made
    made.shut_down()


def serving(loop: Loop) -> tuple[MetricsServer, int]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return MetricsServer(loop, listener, lambda: b"text"), listener.getsockname()[1]


def answer(loop: Loop, client: socket.socket, then: float = 0.0) -> bytes:
    """Return what a scraper is answered; the loop goes on `then` seconds after that."""
    answers: list[bytes] = []

    def end() -> None:
        loop.later(then, loop.stop)

    def ask() -> None:
        answers.append(read_all(client))
        loop.post(end)

    client.sendall(REQUEST)
    asking = in_background(ask)
    loop.run()
    asking.join(DEADLINE)
    (found,) = answers
    return found


def test_the_descriptor_kept_back_is_lent_and_taken_back(loop: Loop) -> None:
    server, port = serving(loop)
    watched = set(loop._handlers)
    client = connect_tcp(port)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)  # the lowest number that is free is the first that there shall not be
    os.close(free)
    taken = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    assert all(number in taken for number in range(free))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        assert answer(loop, client).endswith(b"text")
        assert set(loop._handlers) == watched
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        client.close()
        server.close()


def test_a_scraper_that_has_gone_is_not_given_up_later(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host_proxy.metrics.REQUEST_SECONDS", 0.05)
    server, port = serving(loop)
    ended: list[object] = []
    scraped = server._scraped

    def count(scrape: object) -> None:
        ended.append(scrape)
        scraped(scrape)  # type: ignore[arg-type]

    monkeypatch.setattr(MetricsServer, "_scraped", lambda self, scrape: count(scrape))
    with connect_tcp(port) as client:
        assert answer(loop, client, then=0.2).endswith(b"text")
    assert len(ended) == 1
    server.close()


def test_as_many_scrapers_as_are_promised_and_no_more(loop: Loop) -> None:
    server, port = serving(loop)
    clients = [connect_tcp(port) for _ in range(SCRAPERS + 1)]

    def look() -> None:
        if turned_away():
            loop.stop()
        else:
            loop.later(0.01, look)

    def turned_away() -> list[socket.socket]:
        return select.select(clients, [], [], 0)[0]

    loop.later(0.01, look)
    loop.run()
    assert turned_away() == [clients[-1]]
    assert clients[-1].recv(1) == b""
    assert len(server._scrapes) == SCRAPERS
    server.close()
    for client in clients:
        client.close()


def test_the_descriptor_is_kept_back_again_while_a_scraper_is_served(loop: Loop) -> None:
    server, port = serving(loop)
    with connect_tcp(port):
        loop.later(0.05, loop.stop)
        loop.run()
        assert len(server._scrapes) == 1
        assert server._reserve._fd is not None
        server.ready(select.EPOLLIN)  # who wanted to come has gone
        assert server._reserve._fd is not None
    server.close()
