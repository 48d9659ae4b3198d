"""One memory for all: what is held, by whom, and when there is no room."""

import contextlib

from enclave_server.http.limits import Limits
from enclave_server.memory import Holding, Memory


def test_what_is_held_is_counted_once_and_given_back() -> None:
    memory = Memory(1000, 10)
    first, second = Holding(memory), Holding(memory)
    first.hold(100)
    first.hold(70)
    first.add(5)
    second.hold(20)
    assert memory.held == 95
    first.give_back()
    first.give_back()
    assert memory.held == 20


def test_there_is_room_for_all_together_and_for_each_share() -> None:
    memory = Memory(1000, 10)
    first, second = Holding(memory), Holding(memory)
    assert first.takes(1600)  # alone
    assert not second.takes(101)
    assert memory.held == 1600
    assert second.takes(100)
    assert first.has_room(900)
    assert not first.has_room(901)


def test_leaving_gives_back_whatever_happened() -> None:
    memory = Memory(1000, 10)
    with contextlib.suppress(RuntimeError), Holding(memory) as holding:
        holding.hold(500)
        raise RuntimeError
    assert memory.held == 0


def test_who_is_told_no_limits_keeps_to_those_of_the_settings() -> None:
    limits, memory = Limits(), Memory()
    first, second = Holding(memory), Holding(memory)
    share = limits.buffered_bytes // limits.requests
    first.hold(limits.buffered_bytes - share - 1)
    assert second.has_room(share + 1)
    first.hold(limits.buffered_bytes)
    assert second.has_room(share)
    assert not second.has_room(share + 1)
