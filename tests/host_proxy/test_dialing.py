"""host_proxy reaches its upstream: all addresses, with deadlines, again while it is away."""

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from select import EPOLLIN
from typing import Any

import pytest

from host_proxy import dialing
from host_proxy.addresses import Activated, Address, Tcp, Unix, Vsock, VsockUds, parse
from host_proxy.dialing import Dial, Failure, Greeting, Patience, Race, candidates_of
from host_proxy.loop import Loop, Timer
from host_proxy.resolver import Candidate, Resolver
from tests.support.host_proxy_process import (
    DEADLINE,
    ProxyProcess,
    accept,
    connect_tcp,
    connect_unix,
    in_background,
    listen_tcp,
    listen_unix,
    read_all,
    read_exactly,
    running,
    until,
)

V4 = socket.AF_INET
V6 = socket.AF_INET6


class Dialled:
    """One dial in this process, its outcome and its failures."""

    def __init__(
        self,
        address: Address,
        patience: Patience | None = None,
        getaddrinfo: Callable[..., Any] = socket.getaddrinfo,
    ) -> None:
        self.loop = Loop()
        self.failures: list[Failure] = []
        self.sock: socket.socket | None = None
        self.dial = Dial(
            self.loop,
            Resolver(self.loop, getaddrinfo),
            address,
            patience or Patience(connect=DEADLINE, retry=0),
            self._done,
            self.failures.append,
        )
        self.begun = time.monotonic()
        self.loop.later(0, self.dial.start)
        self.loop.run()
        self.seconds = time.monotonic() - self.begun
        self.loop.shut_down()

    def _done(self, sock: socket.socket | None) -> None:
        self.sock = sock
        self.loop.stop()

    def connected(self) -> socket.socket:
        assert self.sock is not None
        self.sock.settimeout(DEADLINE)
        return self.sock


@pytest.fixture
def upstream() -> Iterator[socket.socket]:
    with listen_tcp() as listener:
        yield listener


@pytest.fixture
def refusing() -> Iterator[tuple[str, int]]:
    """An address that is taken and refuses connections: nobody listens there."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


def found(*sockaddrs: tuple[str, int]) -> Callable[..., Any]:
    """Return a stand-in for getaddrinfo that finds these IPv4 addresses."""
    return lambda *_, **__: [(V4, socket.SOCK_STREAM, 6, "", sockaddr) for sockaddr in sockaddrs]


def test_every_address_of_a_name_is_tried(
    upstream: socket.socket, refusing: tuple[str, int]
) -> None:
    good = upstream.getsockname()
    addresses = found(refusing, refusing, good)
    dialled = Dialled(Tcp("api.example.com", 443), getaddrinfo=addresses)
    with dialled.connected() as sock, accept(upstream):
        assert sock.getpeername() == good
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not dialled.failures


def test_an_address_that_does_not_answer_delays_the_next_by_a_quarter_second(
    upstream: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full backlog drops the connection request as a distant silent host does."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(silent.getsockname())
            time.sleep(0.1)
            addresses = found(silent.getsockname(), upstream.getsockname())
            dialled = Dialled(Tcp("api.example.com", 443), getaddrinfo=addresses)
    with dialled.connected() as sock:
        assert sock.getpeername() == upstream.getsockname()
        assert dialled.seconds >= dialing.ATTEMPT_DELAY_SECONDS


def test_a_connection_that_never_comes_about_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(silent.getsockname())
            time.sleep(0.1)
            dialled = Dialled(Tcp(*silent.getsockname()), Patience(connect=0.3, retry=0))
    assert dialled.sock is None
    assert dialled.failures == [Failure.TIMEOUT]


@pytest.mark.parametrize("last", ["good", "refusing"])
def test_a_race_ends_once_however_soon_the_first_has_failed(
    last: str,
    upstream: socket.socket,
    refusing: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was to begin the next attempt would find none left, and tell of a defeat."""
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY_SECONDS", 0.02)
    addresses = found(refusing, refusing, upstream.getsockname() if last == "good" else refusing)
    loop, ends, failures = Loop(), list[socket.socket | None](), list[Failure]()
    patience = Patience(connect=DEADLINE, retry=0)
    dial = Dial(
        loop,
        Resolver(loop, addresses),
        Tcp("api.example.com", 443),
        patience,
        ends.append,
        failures.append,
    )
    dial.start()
    loop.later(0.3, loop.stop)
    loop.run()
    loop.shut_down()
    assert [sock is not None for sock in ends] == [last == "good"]
    assert failures == ([] if last == "good" else [Failure.REFUSED])
    for sock in ends:
        if sock is not None:
            sock.close()


def test_all_addresses_refused_is_one_failure(refusing: tuple[str, int]) -> None:
    dialled = Dialled(Tcp("api.example.com", 443), getaddrinfo=found(refusing, refusing))
    assert dialled.sock is None
    assert dialled.failures == [Failure.REFUSED]


@pytest.mark.parametrize("error", [socket.gaierror(-2, "no such name"), UnicodeError("label")])
def test_a_name_that_does_not_exist_is_a_failure(error: Exception) -> None:
    def nowhere(*_: Any, **__: Any) -> Any:
        raise error

    dialled = Dialled(Tcp("nowhere.invalid", 443), getaddrinfo=nowhere)
    assert dialled.sock is None
    assert dialled.failures == [Failure.UNRESOLVED]


def test_a_name_that_is_not_answered_in_time_is_a_failure() -> None:
    release = threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        release.wait(DEADLINE)
        return []

    dialled = Dialled(Tcp("slow.example", 443), Patience(connect=0.2, retry=0), slow)
    release.set()
    assert dialled.sock is None
    assert dialled.failures == [Failure.UNRESOLVED]
    assert dialled.seconds < DEADLINE  # it did not wait for the answer


def test_a_scoped_address_of_no_interface_is_a_refusal() -> None:
    dialled = Dialled(Tcp("fe80::1%no-such-interface", 443))
    assert dialled.failures == [Failure.REFUSED]


def test_a_race_that_is_left_closes_what_is_under_way() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fillers = [socket.socket(), socket.socket()]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        time.sleep(0.1)
        loop = Loop()
        candidates: list[Candidate] = [(V4, silent.getsockname())] * 4
        race = Race(loop, candidates, _no_winner)
        race.start()
        race.cancel()
        loop.later(0.4, loop.stop)
        loop.run()
        loop.shut_down()
        for filler in fillers:
            filler.close()


def _no_winner(sock: socket.socket | None) -> None:
    assert sock is None


def test_it_dials_again_until_the_upstream_is_there(tmp_path: Path) -> None:
    def appear() -> None:
        time.sleep(0.3)
        with listen_unix(tmp_path / "up") as listener, accept(listener) as sock:
            sock.sendall(b"hello")

    thread = in_background(appear)
    dialled = Dialled(Unix(str(tmp_path / "up")), Patience(connect=5, retry=10))
    with dialled.connected() as sock:
        assert read_exactly(sock, 5) == b"hello"
    thread.join(DEADLINE)
    assert set(dialled.failures) == {Failure.REFUSED}


@pytest.mark.parametrize("kind", ["unix:{}", "vsock-uds:{}:5000"])
def test_it_dials_again_while_the_upstreams_queue_is_full(tmp_path: Path, kind: str) -> None:
    """A Unix socket answers EAGAIN then; it is not connected, and no event tells when it can be."""
    with listen_unix(tmp_path / "up") as listener:
        listener.listen(0)

        def make_room() -> None:
            time.sleep(0.2)
            accept(listener).close()
            with accept(listener) as sock:
                sock.sendall(b"OK 1\n")
                read_all(sock)

        with connect_unix(tmp_path / "up"):
            thread = in_background(make_room)
            address = parse(kind.format(tmp_path / "up"))
            dialled = Dialled(address, Patience(connect=DEADLINE, retry=DEADLINE))
        with dialled.connected() as sock:
            if kind.startswith("unix:"):
                assert read_exactly(sock, 5) == b"OK 1\n"
        thread.join(DEADLINE)
    assert set(dialled.failures) == {Failure.REFUSED}


def test_it_gives_up_when_the_retry_window_is_over(tmp_path: Path) -> None:
    dialled = Dialled(Unix(str(tmp_path / "up")), Patience(connect=5, retry=2))
    assert dialled.sock is None
    assert 2 <= len(dialled.failures) <= 7  # 20 ms apart, then 40, up to 640


def serve_greeting(listener: socket.socket, *pieces: bytes) -> threading.Thread:
    def serve() -> None:
        with accept(listener) as sock:
            request = b""
            while not request.endswith(b"\n"):
                request += sock.recv(100)
            for piece in (b"%b|" % request if piece == b"ECHO" else piece for piece in pieces):
                sock.sendall(piece)
                time.sleep(0.02)

    return in_background(serve)


@pytest.mark.parametrize(
    ("pieces", "left"),
    [
        ((b"OK 1073741824\nsaid at once", b"ECHO"), b"said at onceCONNECT 5000\n|"),
        (
            (b"O", b"K", b" 10737", b"41824", b"\n", b"ECHO", b"ECHO"),
            b"CONNECT 5000\n|" * 2,
        ),
    ],
)
def test_the_greeting_is_taken_off_and_not_a_byte_more(
    tmp_path: Path, pieces: tuple[bytes, ...], left: bytes
) -> None:
    with listen_unix(tmp_path / "vsock") as listener:
        thread = serve_greeting(listener, *pieces)
        dialled = Dialled(VsockUds(str(tmp_path / "vsock"), 5000))
        with dialled.connected() as sock:
            received = read_all(sock)
        thread.join(DEADLINE)
    assert received == left


@pytest.mark.parametrize("piece", [b"NO\n", b"", b"O" * 100, b"OK\n"])
def test_a_wrong_greeting_is_a_refusal(tmp_path: Path, piece: bytes) -> None:
    with listen_unix(tmp_path / "vsock") as listener:
        thread = serve_greeting(listener, piece)
        dialled = Dialled(VsockUds(str(tmp_path / "vsock"), 5000))
        thread.join(DEADLINE)
    assert dialled.sock is None
    assert dialled.failures == [Failure.REFUSED]


def test_a_greeting_that_never_comes_times_out(tmp_path: Path) -> None:
    with listen_unix(tmp_path / "vsock"):
        address = VsockUds(str(tmp_path / "vsock"), 5000)
        dialled = Dialled(address, Patience(connect=0.2, retry=0))
    assert dialled.failures == [Failure.TIMEOUT]


def test_what_can_only_be_listened_on_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="listened"):
        candidates_of(Activated("ingress"))


def wait_for_a_refused_dial(proxy: ProxyProcess) -> None:
    """Wait until a client is known to wait for an upstream that is away."""
    before = proxy.counters()["dial_failures"]["refused"]
    until(lambda: proxy.counters()["dial_failures"]["refused"] > before)


def test_clients_outlive_a_restart_of_the_upstream(tmp_path: Path) -> None:
    """Existing connections end; a new one waits until the upstream is back."""
    path = tmp_path / "up"
    options = ("--connect", f"unix:{path}", "--retry-seconds", str(DEADLINE))
    with running("--listen", "tcp://127.0.0.1:0", *options) as proxy:
        (port,) = proxy.ports()
        for _ in range(3):
            with listen_unix(path) as listener:
                client = connect_tcp(port)
                server = accept(listener)
                client.sendall(b"ping")
                assert read_exactly(server, 4) == b"ping"
            server.close()
            path.unlink()
            assert read_all(client) == b""
            client.close()
            late = connect_tcp(port)  # while there is no upstream at all
            late.sendall(b"early bird")
            wait_for_a_refused_dial(proxy)
            with listen_unix(path) as listener, accept(listener) as server:
                assert read_exactly(server, 10) == b"early bird"
                late.close()


def test_a_client_is_turned_away_when_the_upstream_stays_away(tmp_path: Path) -> None:
    options = ("--connect", f"unix:{tmp_path / 'up'}", "--retry-seconds", "0.2")
    with running("--listen", "tcp://127.0.0.1:0", *options) as proxy:
        with connect_tcp(proxy.ports()[0]) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        assert proxy.counters()["ended"]["unreachable"] == 1


def test_a_client_that_vanishes_while_waiting_is_let_go(tmp_path: Path) -> None:
    options = ("--connect", f"unix:{tmp_path / 'up'}", "--retry-seconds", "60")
    with running("--listen", "tcp://127.0.0.1:0", *options) as proxy:
        client = connect_tcp(proxy.ports()[0])
        until(lambda: proxy.counters()["active"] == 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        until(lambda: proxy.counters()["active"] == 0)
        assert proxy.counters()["ended"]["aborted"] == 1


def test_a_client_that_has_said_all_and_closed_is_still_carried(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path / 'in'}"
    options = ("--connect", f"unix:{tmp_path / 'up'}", "--retry-seconds", str(DEADLINE))
    with running("--listen", listen, *options) as proxy:
        proxy.event("ready")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "in"))
            client.sendall(b"last words")
        wait_for_a_refused_dial(proxy)
        with listen_unix(tmp_path / "up") as listener, accept(listener) as server:
            assert read_all(server) == b"last words"


def dial_again(loop: Loop, resolver: Resolver, name: Tcp) -> tuple[list[Failure], bool]:
    """Dial once; the failures, and whether there is a connection."""
    failures: list[Failure] = []
    connections: list[socket.socket | None] = []

    def done(sock: socket.socket | None) -> None:
        connections.append(sock)
        loop.stop()

    dial = Dial(loop, resolver, name, Patience(DEADLINE, retry=0), done, failures.append)
    loop.later(0, dial.start)
    loop.run()
    for sock in connections:
        if sock is not None:
            sock.close()
    return failures, connections != [None]


def test_the_time_for_a_look_up_ends_with_it(
    upstream: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would end the race for a connection that comes after it."""
    limits: list[Timer] = []
    later = Loop.later

    def note(self: Loop, delay: float, callback: Callable[[], None]) -> Timer:
        timer = later(self, delay, callback)
        if delay == DEADLINE:
            limits.append(timer)
        return timer

    monkeypatch.setattr(Loop, "later", note)
    loop = Loop()
    resolver = Resolver(loop, found(upstream.getsockname()))
    assert dial_again(loop, resolver, Tcp("api.example.com", 443)) == ([], True)
    loop.shut_down()
    assert [timer.callback for timer in limits] == [None, None]  # of the look-up, and of the race


def test_a_name_that_has_led_somewhere_is_not_looked_up_for_each_connection(
    upstream: socket.socket,
) -> None:
    asked: list[str] = []

    def once(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        return found(upstream.getsockname())()

    loop = Loop()
    resolver = Resolver(loop, once)
    for _ in range(3):
        assert dial_again(loop, resolver, Tcp("api.example.com", 443)) == ([], True)
    loop.shut_down()
    assert asked == ["api.example.com"]


def test_a_name_whose_address_no_longer_answers_is_looked_up_again(
    upstream: socket.socket, refusing: tuple[str, int]
) -> None:
    """It has moved: one connection fails, the next one finds the new place."""
    addresses = [upstream.getsockname(), refusing, upstream.getsockname()]
    loop = Loop()
    resolver = Resolver(loop, lambda *_, **__: found(addresses.pop(0))())
    name = Tcp("api.example.com", 443)
    assert dial_again(loop, resolver, name) == ([], True)
    resolver.forget(*(name.host, name.port))
    assert dial_again(loop, resolver, name) == ([Failure.REFUSED], False)
    assert dial_again(loop, resolver, name) == ([], True)
    loop.shut_down()


def test_a_number_is_never_looked_up(upstream: socket.socket) -> None:
    def nobody(*_: Any, **__: Any) -> Any:
        raise AssertionError("a number was looked up")

    loop = Loop()
    resolver = Resolver(loop, nobody)
    assert dial_again(loop, resolver, Tcp(*upstream.getsockname())) == ([], True)
    loop.shut_down()
    dial = Dial(loop, resolver, Unix("/a"), Patience(DEADLINE, 0), lambda _: None, lambda _: None)
    with pytest.raises(TypeError, match="no name to look up"):
        dial._look_up()


def test_a_look_up_that_cannot_begin_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_proxy.resolver.THREADS", 0)
    assert Dialled(Tcp("api.example.com", 443)).failures == [Failure.UNRESOLVED]


def test_a_monitor_that_closes_without_a_greeting_is_a_refusal(tmp_path: Path) -> None:
    with listen_unix(tmp_path / "vsock") as listener:

        def close() -> None:
            with accept(listener) as sock:
                sock.recv(1)  # the rest stays unread: its peer sees a reset

        thread = in_background(close)
        dialled = Dialled(VsockUds(str(tmp_path / "vsock"), 5000))
        thread.join(DEADLINE)
    assert (dialled.sock, dialled.failures) == (None, [Failure.REFUSED])


def test_a_monitor_that_takes_no_request_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "connect", _connect_and_shut)
    with listen_unix(tmp_path / "vsock"):
        dialled = Dialled(VsockUds(str(tmp_path / "vsock"), 5000))
    assert (dialled.sock, dialled.failures) == (None, [Failure.REFUSED])


def _connect_and_shut(family: int, sockaddr: Any) -> tuple[socket.socket, int]:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.connect(sockaddr)
    sock.setblocking(False)
    sock.shutdown(socket.SHUT_WR)
    return sock, 0


def test_an_event_without_a_cause_is_no_greeting() -> None:
    loop = Loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    done: list[socket.socket | None] = []
    greeting = Greeting(loop, here, 5000, done.append)
    greeting.start()
    greeting.ready(EPOLLIN)
    assert done == []
    assert there.recv(100) == b"CONNECT 5000\n"
    there.send(b"OK 1\n")
    greeting.ready(EPOLLIN)
    assert done == [here]
    greeting.cancel()  # it was handed on, so it stays open
    loop.shut_down()
    assert here.fileno() != -1
    here.close()
    there.close()


def test_vsock_is_dialled_by_its_numbers() -> None:
    assert candidates_of(Vsock(16, 5000)) == [(socket.AF_VSOCK, (16, 5000))]


def test_a_family_that_the_kernel_lacks_is_no_connection() -> None:
    assert dialing.connect(12345, "x") == (None, errno.EAFNOSUPPORT)


def test_what_comes_after_a_greeting_is_carried_both_ways(tmp_path: Path) -> None:
    options = ("--connect", f"vsock-uds:{tmp_path / 'vsock'}:5000")
    with (
        listen_unix(tmp_path / "vsock") as listener,
        running("--listen", "tcp://127.0.0.1:0", *options) as proxy,
        connect_tcp(proxy.ports()[0]) as client,
        accept(listener) as server,
    ):
        assert read_exactly(server, 13) == b"CONNECT 5000\n"
        server.sendall(b"OK 1073741824\n")
        client.sendall(b"question")
        assert read_exactly(server, 8) == b"question"
        server.sendall(b"answer")
        assert read_exactly(client, 6) == b"answer"


def test_new_attempts_come_soon_at_first_and_seldom_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real = Loop.later

    def later(self: Loop, delay: float, callback: Callable[[], None]) -> Timer:
        if delay:
            pauses.append(delay)
        if len(pauses) == 9:
            self.stop()
        return real(self, 0, callback)

    monkeypatch.setattr(Loop, "later", later)
    dialled = Dialled(Unix(str(tmp_path / "absent")), Patience(DEADLINE, DEADLINE))
    assert dialled.sock is None
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("given_up", ["in time", "by whoever asked"])
def test_an_answer_that_comes_too_late_leads_nowhere(
    given_up: str, upstream: socket.socket
) -> None:
    release = threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        release.wait(DEADLINE)
        return found(upstream.getsockname())()

    loop, ends, failures = Loop(), list[socket.socket | None](), list[Failure]()
    patience = Patience(connect=0.05 if given_up == "in time" else DEADLINE, retry=0)
    resolver = Resolver(loop, slow)
    address = Tcp("slow.example", 443)
    dial = Dial(loop, resolver, address, patience, ends.append, failures.append)
    dial.start()
    if given_up == "in time":
        loop.later(0.2, loop.stop)
        loop.run()
    else:
        dial.cancel()
    before = len(ends)
    release.set()
    loop.later(DEADLINE, loop.stop)
    assert resolver.look_up("slow.example", 443, lambda _: loop.stop()) is not None
    loop.run()  # until the answer is there
    loop.later(0.1, loop.stop)
    loop.run()
    loop.shut_down()
    assert ends == ([None] if given_up == "in time" else [])
    assert len(ends) == before
    assert failures == [Failure.UNRESOLVED] * before
    upstream.setblocking(False)
    with pytest.raises(BlockingIOError):
        upstream.accept()  # nobody has connected
