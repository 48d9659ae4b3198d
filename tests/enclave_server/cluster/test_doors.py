"""The door: a few at a time, not too often, and closed behind who is refused."""

import io
import socket
import time
from collections.abc import Iterator
from typing import cast

import pytest

from enclave_server.addresses import TcpAddress, listen_socket
from enclave_server.cluster.doors import MAX_ACCEPTED, MAX_ENTRANCES, REPORT_SECONDS, Doors
from enclave_server.log import Log
from protocol.cluster_frames import FrameReader, encode_frame
from protocol.cluster_join import Joining, wait
from tests.support.enclaves import enclave

WAITS = b"w" * 32


class House:
    """A door, and those that knock."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        listener = listen_socket(TcpAddress("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.doors = Doors(listener, enclave(), Log(self.log), 0.0)
        self.knocking: list[socket.socket] = []

    def knock(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.address, 30)
        client.sendall(data)
        self.knocking.append(client)
        return client

    def step(self, now: float) -> None:
        assert self.doors.step(now, time.time(), None, WAITS) == []


@pytest.fixture(name="house")
def a_house() -> Iterator[House]:
    house = House()
    yield house
    house.doors.close()
    for client in house.knocking:
        client.close()


def test_only_some_are_let_in_at_a_time(house: House) -> None:
    for _ in range(MAX_ENTRANCES + 2):
        house.knock()
    house.step(1.0)
    assert len(house.doors.sockets) == MAX_ENTRANCES
    house.step(7.0)  # all of them were too slow, and the others come in
    assert len(house.doors.sockets) == 1
    house.step(7.1)
    assert len(house.doors.sockets) == 1 + 2


def test_refusals_are_counted_and_not_explained(house: House) -> None:
    client = house.knock(b"\0\3GET")
    house.step(1.0)
    assert client.recv(100) == b""
    house.step(REPORT_SECONDS + 1)
    assert '"joins_refused", "count": 1' in house.log.getvalue()


def test_a_flood_is_closed_unread(house: House) -> None:
    for _ in range(10):
        for _ in range(4):
            house.knock(b"\0\3GET")
        house.step(1.0)
    house.step(REPORT_SECONDS + 1)
    assert '"count": 40' in house.log.getvalue()


class Crowd:
    """A listener at which there is always one more, who has gone before it is heard."""

    def __init__(self) -> None:
        self.accepted = 0

    def accept(self) -> tuple[socket.socket, None]:
        self.accepted += 1
        assert self.accepted < 10 * MAX_ACCEPTED
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours, None

    def close(self) -> None:
        """There is nothing to close."""


def test_a_crowd_without_end_leaves_time_for_everything_else() -> None:
    crowd, log = Crowd(), io.StringIO()
    doors = Doors(cast(socket.socket, crowd), enclave(), Log(log), 0.0)
    for _ in range(3):  # after these nobody is let in for a while
        doors.step(0.0, time.time(), None, WAITS)
    before = crowd.accepted
    doors.step(0.0, time.time(), None, WAITS)
    assert crowd.accepted - before == MAX_ACCEPTED
    doors.close()


def test_refusals_are_told_once_and_where_there_are_none_nothing_is(house: House) -> None:
    house.knock(b"\0\3GET")
    house.step(REPORT_SECONDS - 0.5)
    assert house.log.getvalue() == ""
    for turn in (1, 2, 3):
        house.step(turn * REPORT_SECONDS)
    assert house.log.getvalue().count("joins_refused") == 1
    assert '"count": 1' in house.log.getvalue()


def test_who_is_told_to_wait_is_no_refusal(house: House) -> None:
    hello = Joining(enclave().attest, enclave().equality).hello
    client = house.knock(encode_frame(hello))
    house.step(1.0)
    assert FrameReader().feed(client.recv(1000)) == [wait(WAITS)]
    assert client.recv(1000) == b""
    house.step(REPORT_SECONDS)
    assert house.log.getvalue() == ""


def test_sixteen_come_at_once_and_then_five_a_second(house: House) -> None:
    def admitted(count: int, now: float) -> int:
        for _ in range(count):
            house.knock()
        house.step(now)
        found = len(house.doors.sockets) - (len(house.doors.sockets) < MAX_ENTRANCES)
        for client in house.knocking:
            client.close()
        house.step(now)  # whose clients have gone
        assert len(house.doors.sockets) == 1
        return found

    assert [admitted(8, 1.0), admitted(8, 1.0), admitted(1, 1.0)] == [8, 8, 0]
    assert admitted(7, 2.0) == 5


def test_a_door_that_closes_leaves_nobody_inside(house: House) -> None:
    client = house.knock()
    house.step(1.0)
    house.doors.close()
    assert client.recv(1) == b""
    assert len(house.doors.sockets) == 1  # what was half proven is forgotten, with its keys
    with pytest.raises(ConnectionRefusedError):
        house.knock()


def test_refusals_are_told_when_the_next_report_is_due_and_not_before(house: House) -> None:
    def told(now: float) -> int:
        house.knock(b"\0\3GET")
        house.step(now)
        return house.log.getvalue().count("joins_refused")

    assert told(REPORT_SECONDS) == 1
    assert [told(now) for now in (REPORT_SECONDS + 1, 2 * REPORT_SECONDS - 0.1)] == [1, 1]
    assert told(2 * REPORT_SECONDS) == 2
    assert house.log.getvalue().endswith('"joins_refused", "count": 3}\n')
