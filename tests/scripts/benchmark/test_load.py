"""The load of the bench: it counts whole answers, however they are framed and split."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts.benchmark.load import run

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
COUNTED = (b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 5\r\n\r\nhe", b"llo")
CODED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    b"lo\r\n0\r\n",
    b"\r\n",
)
REFUSED = (b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n",)


@contextmanager
def answering(pieces: tuple[bytes, ...], times: int) -> Iterator[str]:
    """Answer so many requests of one connection, piece by piece; give the address."""

    def serve() -> None:
        stream, _ = listener.accept()
        with stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(times):
                assert stream.recv(4096) == REQUEST
                for piece in pieces:
                    stream.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        host, port = listener.getsockname()
        yield f"tcp://{host}:{port}"
        thread.join()


@pytest.mark.parametrize(
    ("pieces", "failed"), [(COUNTED, 0), (CODED, 0), ((b"".join(CODED),), 0), (REFUSED, 3)]
)
def test_whole_answers_are_counted(pieces: tuple[bytes, ...], failed: int) -> None:
    with answering(pieces, 3) as address:
        result = run(address, iter([REQUEST] * 3), 1)
    assert (result["requests"], result["failed"], result["unanswered"]) == (3, failed, 0)


def test_a_server_that_goes_away_is_no_result() -> None:
    with answering(COUNTED[:2], 1) as address, pytest.raises(ConnectionError, match="mid-answer"):
        run(address, iter([REQUEST]), 1)
