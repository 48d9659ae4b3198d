"""The probe tells an engine that gets on from one that does not, without ever waiting."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclave_server.engine.probe import INTERVAL_SECONDS, LONGEST_LOOK_SECONDS, Probe

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"


class Place:
    """Where an engine would listen."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "engine.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()

    def take(self) -> socket.socket:
        connection, _ = self.listener.accept()
        assert connection.recv(1000).startswith(b"GET /metrics HTTP/1.1\r\n")
        return connection


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.listener.close()


def test_an_answer_ends_the_silence(place: Place) -> None:
    probe = Probe(place.path, 0.0)
    probe.look(0.5)
    with place.take() as connection:
        probe.look(1.0)
        assert (probe.silent_seconds, probe.answers) == (1.0, 0)
        connection.send(ANSWER)
        probe.look(1.5)
    assert (probe.silent_seconds, probe.answers) == (0.0, 1)
    probe.look(1.5 + INTERVAL_SECONDS - 0.1)
    place.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        place.listener.accept()
    probe.look(1.5 + INTERVAL_SECONDS)
    place.take().close()
    probe.close()


def test_after_an_attempt_in_vain_it_waits_as_long(tmp_path: Path) -> None:
    probe = Probe(str(tmp_path / "engine.sock"), 0.0)
    probe.look(0.0)  # nobody is there yet
    place = Place(tmp_path)
    place.listener.setblocking(False)
    probe.look(INTERVAL_SECONDS - 0.1)
    with pytest.raises(BlockingIOError):
        place.listener.accept()
    probe.look(INTERVAL_SECONDS)
    place.take().close()
    place.listener.close()
    probe.close()


def test_an_answer_may_come_in_pieces(place: Place) -> None:
    probe = Probe(place.path, 0.0)
    probe.look(0.0)
    with place.take() as connection:
        for octet in ANSWER[:13]:
            assert probe.answers == 0
            connection.send(bytes([octet]))
            probe.look(0.0)
    assert probe.answers == 1


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 503 Service Unavailable\r\n", b"garbage garbage"])
def test_anything_else_is_silence(place: Place, said: bytes) -> None:
    probe = Probe(place.path, 0.0)
    probe.look(0.0)
    with place.take() as connection:
        connection.send(said)
    probe.look(1.0)
    probe.look(2.0)
    assert (probe.silent_seconds, probe.answers) == (2.0, 0)
    probe.close()


def test_nobody_there_is_silence(tmp_path: Path) -> None:
    probe = Probe(str(tmp_path / "none.sock"), 0.0)
    for second in range(1, 6):
        probe.look(second)
    assert probe.silent_seconds == 5.0


def test_a_queue_that_is_full_is_silence(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.listener.listen(0)
    with socket.socket(socket.AF_UNIX) as first, place.listener:
        first.connect(place.path)
        probe = Probe(place.path, 0.0)
        probe.look(0.0)
        probe.look(1.0)
    assert probe.silent_seconds == 1.0
    probe.close()


def test_what_nobody_looked_at_does_not_count(place: Place) -> None:
    """A machine that stood still, or a parent that did, is no proof against the engine."""
    assert LONGEST_LOOK_SECONDS == 1
    probe = Probe(place.path, 0.0)
    probe.look(1000.0)
    probe.look(999.0)
    assert probe.silent_seconds == LONGEST_LOOK_SECONDS
    probe.close()
