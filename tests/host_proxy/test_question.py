"""One question: what comes back, what is a miss, and that it is told once."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host_proxy.addresses import Unix
from host_proxy.loop import Loop
from host_proxy.question import Question
from host_proxy.resolver import Resolver
from tests.support.host_proxy_process import DEADLINE, accept, in_background, listen_unix


def answer_of(path: Path, limit: int = 1000, seconds: float = DEADLINE) -> bytes | None:
    """Ask once, in this process."""
    loop = Loop()
    told: list[bytes | None] = []

    def done(answer: bytes | None) -> None:
        told.append(answer)
        loop.later(0.05, loop.stop)  # time enough to be told twice, if that could be

    question = Question(
        loop,
        Resolver(loop),
        Unix(str(path)),
        b"ask\n",
        limit=limit,
        seconds=seconds,
        done=done,
    )
    loop.later(0, question.start)
    loop.run()
    loop.shut_down()
    (only,) = told
    return only


@pytest.mark.parametrize("pieces", [[], [b"all"], [b"in ", b"two"], [b"x" * 999]])
def test_all_that_comes_until_the_peer_closes(tmp_path: Path, pieces: list[bytes]) -> None:
    with listen_unix(tmp_path / "up") as listener:

        def serve() -> None:
            with accept(listener) as sock:
                assert sock.recv(100) == b"ask\n"
                for piece in pieces:
                    sock.sendall(piece)

        in_background(serve)
        assert answer_of(tmp_path / "up") == b"".join(pieces)


def test_no_more_than_the_limit_is_kept(tmp_path: Path) -> None:
    with listen_unix(tmp_path / "up") as listener:

        def serve() -> None:
            with accept(listener) as sock:
                sock.sendall(b"x" * 5000)
                sock.recv(100)

        in_background(serve)
        answer = answer_of(tmp_path / "up", limit=1000)
        assert answer is not None
        assert 1000 <= len(answer) < 2000


def test_nobody_and_silence_are_misses(tmp_path: Path) -> None:
    assert answer_of(tmp_path / "nobody") is None
    with listen_unix(tmp_path / "up"):
        assert answer_of(tmp_path / "up", seconds=0.05) is None


class Asked:
    """A question whose connection the test makes, or does not; by timers that it lets run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = DEADLINE) -> None:
        self.cancelled = 0
        self.told: list[bytes | None] = []
        self.loop = Loop()
        monkeypatch.setattr("host_proxy.question.Dial", self._dial)
        resolver = Resolver(self.loop)
        address, limit = Unix("/nowhere"), 1000
        self.question = Question(
            self.loop, resolver, address, b"ask", limit=limit, seconds=seconds, done=self._done
        )

    def _dial(self, *arguments: Any) -> "Asked":
        self.connected: Callable[[socket.socket | None], None] = arguments[4]
        return self

    def _done(self, answer: bytes | None) -> None:
        self.told.append(answer)
        self.loop.stop()

    def cancel(self) -> None:
        self.cancelled += 1

    def close(self) -> None:
        assert [each for each in self.loop._timers if each.callback is not None] == []
        self.loop.shut_down()


def test_what_takes_too_long_gives_its_connection_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, seconds=0.01)
    asked.loop.run()
    assert (asked.told, asked.cancelled) == ([None], 1)
    asked.question.ready(1)  # an event that was on its way
    asked.close()


def test_a_peer_that_has_gone_before_it_was_asked_is_a_miss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked(monkeypatch)
    ours, theirs = socket.socketpair()
    theirs.close()
    asked.connected(ours)
    assert asked.told == [None]
    asked.close()  # which needs no more time
    assert ours.fileno() == -1


def test_a_connection_that_breaks_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        asked.connected(ours)
        assert theirs.recv(1) == b"a"  # and leaves the rest, so that its end is a reset
        theirs.close()
    asked.loop.run()
    assert asked.told == [None]
    asked.close()


def test_what_was_answered_waits_for_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    asked.connected(ours)
    asked.question.ready(1)  # before there is anything
    assert theirs.recv(10) == b"ask"
    theirs.send(b"told")
    asked.loop.later(0, theirs.close)
    asked.loop.run()
    assert asked.told == [b"told"]
    asked.close()
    assert ours.fileno() == -1
