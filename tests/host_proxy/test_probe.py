"""One question whether somebody lives: what counts as an answer, and for how long it is awaited."""

import socket
import threading
import time
from pathlib import Path

import pytest

from host_proxy.addresses import Address, Tcp, Unix
from host_proxy.loop import Loop
from host_proxy.probe import ANSWER_BYTES, REQUEST, Outcome, Probe, judge
from host_proxy.resolver import Resolver
from tests.support.host_proxy_process import DEADLINE, accept, in_background, listen_unix, read_all


def outcome_of(address: Address, seconds: float = DEADLINE) -> tuple[Outcome, float]:
    """Ask once, in this process."""
    loop = Loop()
    told: list[tuple[Outcome, float]] = []

    def done(outcome: Outcome, took: float) -> None:
        told.append((outcome, took))
        loop.later(0.05, loop.stop)  # time enough to be told twice, if that could be

    probe = Probe(loop, Resolver(loop), address, seconds, done)
    loop.later(0, probe.start)
    loop.later(DEADLINE + 10, loop.stop)
    loop.run()
    loop.shut_down()
    (only,) = told
    return only


def answering(listener: socket.socket, *pieces: bytes, ends: bool = True) -> threading.Thread:
    def serve() -> None:
        with accept(listener) as sock:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += sock.recv(1000)
            assert request == REQUEST
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(0.01)
            if not ends:
                read_all(sock)

    return in_background(serve)


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ((b"HTTP/1.1 200 OK\r\n\r\n",), Outcome.HEALTHY),
        (tuple(b"HTTP/1.0 200\r\n\r\nok"[i : i + 1] for i in range(18)), Outcome.HEALTHY),
        ((b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n",), Outcome.UNHEALTHY),
        ((b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2 * ANSWER_BYTES,), Outcome.HEALTHY),
        ((b"HTTP/1.1 2000 OK\r\n\r\n",), Outcome.MISSED),
        ((b"HTTP/1.1 20",), Outcome.MISSED),
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), Outcome.MISSED),
        ((), Outcome.UNHEALTHY),
    ],
)
def test_what_an_answer_tells(tmp_path: Path, pieces: tuple[bytes, ...], outcome: Outcome) -> None:
    with listen_unix(tmp_path / "up") as listener:
        thread = answering(listener, *pieces)
        assert outcome_of(Unix(str(tmp_path / "up")))[0] is outcome
        thread.join(DEADLINE)


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 200 OK\r\n\r\n",)])
def test_an_upstream_that_hangs_is_missed_after_its_time(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    """Also one that has begun an answer: it was asked to close when it had ended."""
    with listen_unix(tmp_path / "up") as listener:
        thread = answering(listener, *pieces, ends=False)
        outcome, seconds = outcome_of(Unix(str(tmp_path / "up")), 0.3)
        thread.join(DEADLINE)
    assert outcome is Outcome.MISSED
    assert 0.3 <= seconds < DEADLINE


def test_a_connection_that_never_comes_about_is_missed_after_its_time() -> None:
    with socket.socket() as silent, socket.socket() as first, socket.socket() as second:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        time.sleep(0.1)
        outcome, seconds = outcome_of(Tcp(*silent.getsockname()), 0.3)
    assert outcome is Outcome.MISSED
    assert 0.3 <= seconds < DEADLINE


def test_nobody_there_is_missed_at_once(tmp_path: Path) -> None:
    outcome, seconds = outcome_of(Unix(str(tmp_path / "absent")))
    assert outcome is Outcome.MISSED
    assert seconds < DEADLINE


def test_an_upstream_that_resets_is_missed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)

        def reset() -> None:
            with accept(listener) as sock:
                sock.recv(1)  # and leaves the rest unread

        thread = in_background(reset)
        assert outcome_of(Tcp(*listener.getsockname()))[0] is Outcome.MISSED
        thread.join(DEADLINE)


def test_a_send_that_fails_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_proxy.probe.REQUEST", b"x" * (8 << 20))  # fits no buffer: EAGAIN
    with listen_unix(tmp_path / "up") as listener:
        listener.listen()
        monkeypatch.setattr(
            "host_proxy.dialing.tune",
            lambda sock: sock.shutdown(socket.SHUT_WR) if sock.family == socket.AF_UNIX else None,
        )
        assert outcome_of(Unix(str(tmp_path / "up")))[0] is Outcome.MISSED


def test_only_a_whole_status_line_is_judged() -> None:
    assert judge(b"HTTP/1.1 200 ") is Outcome.HEALTHY
    assert judge(b"HTTP/1.1 200") is Outcome.MISSED
    assert judge(b"HTTP/2 200 ") is Outcome.MISSED
    assert judge(b" HTTP/1.1 200 ") is Outcome.MISSED
    assert judge(b"HTTP/1.1 204 ") is Outcome.UNHEALTHY
