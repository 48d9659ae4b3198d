"""A route: whom it accepts, whom it lets wait, and that its counts add up."""

import errno
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from host_proxy.addresses import UNIX_SEND_BYTES, Unix
from host_proxy.carrying import Ending
from host_proxy.dialing import Patience
from host_proxy.loop import Loop
from host_proxy.pipes import PipePool
from host_proxy.resolver import Resolver
from host_proxy.routes import ACCEPTS_AT_ONCE, PAUSE_SECONDS, Machinery, Route
from tests.support.host_proxy_process import (
    DEADLINE,
    accept,
    connect_unix,
    listen_unix,
    read_all,
    read_exactly,
)


@dataclass
class Stand:
    """A route in this process, between two Unix sockets."""

    directory: Path
    loop: Loop
    upstream: socket.socket
    room: int = 1000
    shortages: list[int] = field(default_factory=list)

    def route(self, listener: socket.socket, retry: float = DEADLINE) -> Route:
        machinery = Machinery(
            self.loop,
            Resolver(self.loop),
            PipePool(),
            lambda route: route.active < self.room,
            lambda: self.shortages.append(1),
        )
        target = Unix(str(self.directory / "up"))
        return Route(machinery, "ingress", listener, target, Patience(DEADLINE, retry))

    def run(self, seconds: float) -> None:
        self.loop.later(seconds, self.loop.stop)
        self.loop.run()


@pytest.fixture
def stand(tmp_path: Path, upstream: socket.socket) -> Iterator[Stand]:
    loop = Loop()
    yield Stand(tmp_path, loop, upstream)
    loop.shut_down()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with listen_unix(tmp_path / "in") as listener:
        listener.listen(1000)
        listener.setblocking(False)
        yield listener


def end(route: Route, *socks: socket.socket) -> None:
    route.end_all()
    route.stop_listening()
    for sock in socks:
        sock.close()


def test_the_counts_of_open_and_ended_connections_add_up(
    stand: Stand, listener: socket.socket
) -> None:
    route = stand.route(listener)
    clients = [connect_unix(stand.directory / "in") for _ in range(2)]
    stand.run(0.05)
    servers = [accept(stand.upstream) for _ in clients]
    for client, server in zip(clients, servers, strict=True):
        client.sendall(b"12345")
        server.sendall(b"123")
    stand.run(0.05)
    clients[0].close()
    servers[0].close()
    stand.run(0.05)
    counters = route.snapshot()
    assert counters.carried == {"to_upstream": 10, "to_client": 6}
    assert (counters.accepted, counters.active) == (2, 1)
    assert counters.endings.total() == 1
    assert route.snapshot().as_dict() == counters.as_dict()  # to ask changes nothing
    end(route, *clients, *servers)
    assert route.snapshot().carried == counters.carried
    assert route.counters.endings[Ending.DRAINED] == 1


def test_a_client_whose_upstream_is_away_is_turned_away_and_counted(
    stand: Stand, listener: socket.socket
) -> None:
    (stand.directory / "up").unlink()
    route = stand.route(listener, retry=0)
    client = connect_unix(stand.directory / "in")
    stand.run(0.05)
    assert read_all(client) == b""
    assert route.active == 0
    assert route.snapshot().endings == {Ending.UNREACHABLE: 1}
    end(route, client)


def test_a_client_waits_for_an_upstream_that_comes_and_is_then_carried(
    stand: Stand, listener: socket.socket
) -> None:
    (stand.directory / "up").unlink()
    route = stand.route(listener)
    client = connect_unix(stand.directory / "in")
    stand.run(0.05)
    assert (len(route.pairs), len(route.waiting)) == (0, 1)
    with listen_unix(stand.directory / "up") as upstream:
        deadline = time.monotonic() + DEADLINE
        while route.waiting:
            assert time.monotonic() < deadline
            stand.run(0.02)
        server = accept(upstream)
        client.sendall(b"question")
        stand.run(0.05)
        assert read_exactly(server, 8) == b"question"
    assert len(route.pairs) == 1
    end(route, client, server)


def test_who_has_had_an_answer_is_released_in_time_and_who_is_idle_ended(
    stand: Stand, listener: socket.socket
) -> None:
    route = stand.route(listener)
    clients = [connect_unix(stand.directory / "in") for _ in range(2)]
    stand.run(0.05)
    servers = [accept(stand.upstream) for _ in clients]
    for client in clients:
        client.sendall(b"question")
    stand.run(0.05)
    servers[0].sendall(b"answer")
    stand.run(0.05)
    begun = time.monotonic()
    route.sweep(begun, 1000)  # from which on it is known that nothing moves
    now = begun + 5
    quiet = max(pair.answered_for(now) for pair in route.pairs)
    assert quiet == pytest.approx(5)
    route.release(now, quiet + 0.001)
    assert not route.counters.endings
    route.release(now, quiet)
    assert route.counters.endings == {Ending.RELEASED: 1}
    (idle,) = route.pairs  # which waits for its answer
    route.sweep(now, idle.quiet_for(now))
    assert route.active == 1
    route.sweep(now, idle.quiet_for(now) - 0.001)
    assert route.counters.endings == {Ending.RELEASED: 1, Ending.IDLE: 1}
    end(route, *clients, *servers)


def test_an_accepted_unix_socket_lets_its_reader_fall_behind(
    stand: Stand, listener: socket.socket
) -> None:
    route = stand.route(listener)
    client = connect_unix(stand.directory / "in")
    stand.run(0.05)
    (pair,) = route.pairs
    # The kernel keeps as much again for itself (socket(7)): what nobody has set is less.
    most = 2 * min(UNIX_SEND_BYTES, int(Path("/proc/sys/net/core/wmem_max").read_text()))
    for half in (pair.client, pair.upstream):
        assert half.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == most
        assert half.sock.gettimeout() == 0
    end(route, client)


def test_many_clients_at_once_leave_others_their_turn(
    stand: Stand, listener: socket.socket
) -> None:
    route = stand.route(listener)
    stand.upstream.listen(1000)
    clients = [connect_unix(stand.directory / "in") for _ in range(2 * ACCEPTS_AT_ONCE + 1)]
    route.ready(0)
    assert route.counters.accepted == ACCEPTS_AT_ONCE
    stand.run(0.2)
    assert route.counters.accepted == len(clients)
    end(route, *clients)


def test_a_client_above_the_cap_is_closed_and_counted(
    stand: Stand, listener: socket.socket
) -> None:
    stand.room = 1
    route = stand.route(listener)
    clients = [connect_unix(stand.directory / "in") for _ in range(3)]
    stand.run(0.05)
    assert [read_all(client) for client in clients[1:]] == [b"", b""]
    assert (route.counters.accepted, route.counters.refused) == (1, 2)
    end(route, *clients)


class Spent(socket.socket):
    """A listener of a process that is out of descriptors, as often as the test wants."""

    failures = 0
    attempts = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


@pytest.fixture
def spent(listener: socket.socket) -> Iterator[Spent]:
    with Spent(fileno=listener.detach()) as spent:
        yield spent


def test_without_descriptors_it_pauses_and_then_goes_on(stand: Stand, spent: Spent) -> None:
    spent.failures = 3
    route = stand.route(spent)
    client = connect_unix(stand.directory / "in")
    client.sendall(b"x")
    stand.run(2.5 * PAUSE_SECONDS)
    assert spent.attempts == len(stand.shortages) == route.counters.starved == 3
    assert route.snapshot().starved == 3
    stand.run(PAUSE_SECONDS)
    with accept(stand.upstream) as server:
        stand.run(0.05)
        assert read_exactly(server, 1) == b"x"
    end(route, client)


@pytest.mark.parametrize("then", ["held", "closed"])
def test_what_is_held_or_closed_in_such_a_pause_stays_so(
    stand: Stand, spent: Spent, then: str
) -> None:
    spent.failures = 1
    route = stand.route(spent)
    client = connect_unix(stand.directory / "in")
    stand.run(0.2 * PAUSE_SECONDS)
    if then == "held":
        route.hold()
    else:
        route.stop_listening()
        route.hold()
        route.resume()
    stand.run(2 * PAUSE_SECONDS)
    assert spent.attempts == 1
    assert route.counters.accepted == 0
    if then == "held":
        route.ready(0)  # an event that was on its way already
        assert route.counters.accepted == 0
        route.resume()
        stand.run(0.05)
        assert route.counters.accepted == 1
    end(route, client)


def test_who_waits_in_a_hold_keeps_nobody_busy(
    stand: Stand, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Level-triggered epoll would tell of them again and again."""
    told: list[int] = []
    monkeypatch.setattr(Route, "ready", lambda _, events: told.append(events))
    route = stand.route(listener)
    route.hold()
    client = connect_unix(stand.directory / "in")
    stand.run(0.1)
    assert told == []
    route.resume()
    stand.run(0.1)
    assert told
    end(route, client)


def test_a_client_that_left_the_backlog_is_no_shortage(stand: Stand) -> None:
    class Aborted(socket.socket):
        def accept(self) -> NoReturn:
            raise ConnectionAbortedError

    with Aborted(socket.AF_UNIX) as listener:
        listener.bind(str(stand.directory / "in"))
        listener.listen()
        route = stand.route(listener)
        route.ready(0)
        assert (route.counters.starved, stand.shortages) == (0, [])
        end(route)


def test_a_client_that_waits_is_told_when_the_time_is_up(
    stand: Stand, listener: socket.socket
) -> None:
    (stand.directory / "up").unlink()
    route = stand.route(listener)
    client = connect_unix(stand.directory / "in")
    stand.run(0.05)
    assert (len(route.pairs), len(route.waiting)) == (0, 1)
    route.end_pairs()
    assert route.active == 1
    route.end_all()
    stand.run(0.05)
    assert read_all(client) == b""
    assert route.active == 0
    assert route.counters.endings == {Ending.DRAINED: 1}
    end(route, client)
