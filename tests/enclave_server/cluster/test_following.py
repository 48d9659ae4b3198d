"""Followers: they serve with what their leader says, are heard of, and hand on secrets."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from enclave_server.cluster.followers import ACK_SECONDS
from enclave_server.cluster.following import Uplink
from enclave_server.cluster.handshake import Joined
from enclave_server.cluster.stream import PeerGone
from protocol.cluster_state import Ack, Beat, Propose, State
from tests.enclave_server.cluster.test_handshake import STATE
from tests.enclave_server.cluster.test_link import links
from tests.support.cluster_world import SOON, World


def test_who_hangs_is_dropped_and_comes_back(world: World) -> None:
    nodes = world.started()
    nodes[1].paused = True
    world.run(SOON)
    assert len(nodes[0].told()["members"]) == 2
    nodes[1].paused = False
    world.run(2 * SOON)
    assert len(nodes[0].told()["members"]) == 3
    assert world.is_one()


def test_secrets_travel_whoever_they_are_given_to(world: World) -> None:
    nodes = world.started()
    nodes[2].proposals = [b"of the administrator"]
    world.run(SOON)
    assert {node.secrets for node in nodes} == {b"of the administrator"}
    world.kill(1)
    late = world.start(1)
    world.run(SOON)
    assert late is not None
    assert late.secrets == b"of the administrator"


def test_secrets_are_taken_once(world: World) -> None:
    nodes = world.started(2)
    nodes[0].proposals = [b"first"]
    world.tick()
    nodes[1].proposals = [b"second"]
    world.run(SOON)
    assert {node.secrets for node in nodes} == {b"first"}


class Follower:
    """An uplink, the leader's end of it, and a part that notes what it takes."""

    def __init__(self) -> None:
        ours, self.leader = links()
        self.uplink = Uplink(Joined(b"f" * 16, ours, STATE), 100.0)
        self.taken: list[int] = []
        self.rings: list[object] = []
        keeper = SimpleNamespace(ring="the ring", replace=self.rings.append)
        self.part: Any = SimpleNamespace(take=self._take, keeper=keeper)

    def _take(self, state: State, ring: object, member: bytes, unix: float) -> str:
        assert (ring, member, unix) == ("the ring", b"f" * 16, 5.0)
        self.taken.append(state.serial)
        return "a ring"

    def step(self, now: float, *, settled: bool = True) -> None:
        self.uplink.step(self.part, 5.0, now, settled=settled)

    def told(self) -> list[object]:
        """Return what its leader has been told since the last look."""
        found: list[object] = []
        while (message := self.leader.receive()) is not None:
            found.append(message)
        return found


def test_a_follower_says_that_it_serves_once_its_workers_do_and_then_for_each_beat() -> None:
    follower = Follower()
    follower.step(100.0, settled=False)
    assert follower.told() == []
    follower.step(100.1)
    follower.step(100.2)
    assert follower.told() == [Ack(STATE.serial)]
    follower.leader.send(Beat(STATE.serial))
    follower.step(100.3)
    assert follower.told() == [Ack(STATE.serial)]  # so that it is heard of
    later = replace(STATE, serial=STATE.serial + 3)
    follower.leader.send(later)
    follower.step(100.4)
    assert (follower.taken, follower.rings) == ([later.serial], ["a ring"])
    assert follower.told() == []  # its workers do not have it yet
    follower.step(100.5)
    assert follower.told() == [Ack(later.serial)]
    assert follower.uplink.joined.state == later
    follower.uplink.close()


def test_a_leader_is_waited_for_so_long_since_it_was_heard() -> None:
    follower = Follower()
    follower.step(100.0 + ACK_SECONDS)
    follower.leader.send(Beat(STATE.serial))
    follower.step(104.0)
    follower.step(104.0 + ACK_SECONDS)
    with pytest.raises(PeerGone):
        follower.step(104.1 + ACK_SECONDS)
    follower.uplink.close()


def test_what_only_a_follower_says_ends_it() -> None:
    for message in (Ack(1), Propose(b"secrets")):
        follower = Follower()
        follower.leader.send(message)
        with pytest.raises(PeerGone):
            follower.step(100.0)
        follower.uplink.close()


def test_secrets_for_a_leader_that_has_gone_or_that_are_none_are_passed_over() -> None:
    follower = Follower()
    follower.uplink.propose(b"secrets")
    assert follower.told() == [Propose(b"secrets")]
    follower.uplink.propose(b"")
    assert follower.told() == []
    follower.leader.close()
    follower.uplink.propose(b"secrets")
    follower.uplink.close()
    assert follower.uplink.socket.fileno() == -1
