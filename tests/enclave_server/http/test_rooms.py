"""What workers tell each other of their room, across processes, and for how long it holds."""

import os

import pytest

from enclave_server.http import rooms
from enclave_server.http.rooms import Rooms, alone


def test_what_one_tells_the_others_know() -> None:
    shared = Rooms(3)
    first, second, third = (shared.of(number) for number in range(3))
    assert not any(room.is_elsewhere() for room in (first, second, third))
    second.tell(True)
    assert [room.is_elsewhere() for room in (first, second, third)] == [True, False, True]
    second.tell(False)
    assert not first.is_elsewhere()


def test_a_forked_process_sees_it() -> None:
    shared = Rooms(2)
    child = os.fork()
    if child == 0:
        shared.of(1).tell(True)
        os._exit(0)
    os.waitpid(child, 0)
    assert shared.of(0).is_elsewhere()


def test_a_word_holds_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "VALID_SECONDS", 0.0)
    shared = Rooms(2)
    shared.of(1).tell(True)
    assert not shared.of(0).is_elsewhere()


def test_who_has_no_siblings() -> None:
    room = alone()
    room.tell(True)
    assert room.is_alone
    assert not room.is_elsewhere()
    assert not Rooms(2).of(0).is_alone
