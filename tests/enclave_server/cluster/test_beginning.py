"""How enclaves begin: first, after another, at the same time, or not at all."""

import io
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from enclave_server.addresses import UnixAddress, listen_socket
from enclave_server.cluster import beginning
from enclave_server.cluster.beginning import Beginning, NobodyLeads, Stopped
from enclave_server.cluster.doors import Doors
from enclave_server.cluster.identity import Identity
from enclave_server.cluster.seeking import Search
from enclave_server.log import Log
from protocol.cluster_join import NONCE_BYTES, Equality
from tests.support.cluster_world import World
from tests.support.enclaves import enclave


def test_the_first_begins_and_the_second_joins(world: World) -> None:
    first, second = world.start(0), world.start(1)
    assert first is not None
    assert second is not None
    assert first.member.leads
    assert not second.member.leads
    assert second.member.company.leader == first.member.company.member


def test_a_peer_that_says_nothing_is_no_reason_to_be_the_first(world: World) -> None:
    with listen_socket(world.addresses[1]):
        assert world.start(0) is None


def test_circles_of_followers_lead_nowhere(world: World) -> None:
    """The host has an enclave ask one that follows, and no leader."""
    assert world.start(0) is not None
    assert world.start(1) is not None
    world.separate(0, 2)
    assert world.start(2) is None


class Alone:
    """An enclave that begins with so many peers, none of which is there; a turn takes a second."""

    def __init__(self, folder: Path, peers: int, seconds: float = 60.0) -> None:
        own = UnixAddress(str(folder / "own"))
        self.doors = Doors(listen_socket(own), enclave(), Log(io.StringIO()), 0.0)
        others = [UnixAddress(str(folder / f"peer-{number}")) for number in range(peers)]
        self.beginning = Beginning(enclave(), self.doors, others, seconds)
        self.waited = 0
        self.goes_on = True
        self.now = itertools.count(1.0)

    def waiting(self, sockets: Sequence[object], seconds: float) -> bool:
        assert 0 < seconds < 1
        assert len(sockets) == 1  # its own door
        self.waited += 1
        return self.goes_on

    def find(self) -> None:
        try:
            assert self.beginning.find(self.waiting, lambda: next(self.now), time.time) is None
        finally:
            self.doors.close()


def test_without_peers_it_is_the_first_at_once(tmp_path: Path) -> None:
    alone = Alone(tmp_path, 0)
    alone.find()
    assert alone.waited == 0


def test_nobody_anywhere_is_believed_the_third_time(tmp_path: Path) -> None:
    alone = Alone(tmp_path, 2)
    alone.find()
    assert alone.waited == 2


def test_it_looks_no_longer_than_it_may(tmp_path: Path) -> None:
    alone = Alone(tmp_path, 1, seconds=2.0)
    with pytest.raises(NobodyLeads):
        alone.find()
    assert alone.waited == 1  # after a second; after two it is over


def test_who_is_told_to_end_looks_no_more(tmp_path: Path) -> None:
    alone = Alone(tmp_path, 1)
    alone.goes_on = False
    with pytest.raises(Stopped):
        alone.find()
    assert alone.waited == 1


is_first: Callable[[Search, bytes, bytes], bool] = beginning._is_first


class Asked:
    """A search that has asked all, some of whom wait."""

    has_silent = False

    def __init__(self, *waiting: bytes) -> None:
        self.waiting = list(waiting)

    def has_asked(self, times: int) -> bool:
        return times > 0


def test_members_of_other_measurements_keep_nobody_from_being_the_first() -> None:
    """At an upgrade they are there, and never lead those that come."""
    ours, nonce = enclave().before_all, b"n" * NONCE_BYTES
    theirs = Identity(
        enclave().module, Equality(enclave().equality.root, {0: b"o" * 48})
    ).before_all
    assert len(ours) == len(theirs) == NONCE_BYTES
    assert ours != theirs
    for waiting, first in (
        ([theirs], True),
        ([ours], False),
        ([ours, theirs], False),
        ([theirs, b"m" * NONCE_BYTES], False),
        ([theirs, b"o" * NONCE_BYTES], True),
    ):
        assert is_first(cast(Search, Asked(*waiting)), nonce, ours) is first
