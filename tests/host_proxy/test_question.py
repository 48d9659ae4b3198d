"""One question: what comes back, what is a miss, and that it is told once."""

from pathlib import Path

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
