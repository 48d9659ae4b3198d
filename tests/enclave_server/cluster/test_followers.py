"""A leader's followers: heard, dropped when late, and told of everything."""

from dataclasses import replace

import pytest

from enclave_server.cluster.followers import ACK_SECONDS, ENTER_SECONDS, Followers
from enclave_server.cluster.handshake import Follower
from enclave_server.cluster.link import Link
from enclave_server.cluster.stream import PeerGone
from protocol.cluster_state import Ack, Beat, Propose
from tests.enclave_server.cluster.test_handshake import STATE
from tests.enclave_server.cluster.test_link import links

NAME = b"f" * 16


def admitted() -> tuple[Followers, Link]:
    ours, theirs = links()
    followers = Followers()
    followers.add(Follower(NAME, ours), STATE, 0.0)
    return followers, theirs


def hear(followers: Followers, now: float) -> list[bytes]:
    return list(followers.receive(now))


def test_one_serves_once_it_says_so() -> None:
    followers, link = admitted()
    assert link.receive() == STATE
    assert followers.serving == frozenset()
    assert followers.have(9)
    link.send(Ack(STATE.serial))
    assert hear(followers, 1.0) == []
    assert followers.serving == {NAME}
    assert followers.have(STATE.serial)
    assert not followers.have(STATE.serial + 1)


def test_who_is_silent_is_dropped_sooner_once_it_serves() -> None:
    followers, _ = admitted()
    hear(followers, ENTER_SECONDS - 1)
    assert len(followers) == 1
    hear(followers, ENTER_SECONDS + 1)
    assert len(followers) == 0
    followers, link = admitted()
    link.send(Ack(STATE.serial))
    hear(followers, 1.0)
    hear(followers, 1.0 + ACK_SECONDS - 0.1)
    assert len(followers) == 1
    hear(followers, 1.0 + ACK_SECONDS + 0.1)
    assert len(followers) == 0


def test_an_ack_of_what_was_never_sent_ends_it() -> None:
    followers, link = admitted()
    link.send(Ack(STATE.serial + 1))
    hear(followers, 1.0)
    assert len(followers) == 0


def test_what_only_a_leader_says_ends_it() -> None:
    followers, link = admitted()
    link.send(Beat(1))
    hear(followers, 1.0)
    assert len(followers) == 0


def test_proposals_are_handed_on_and_beats_are_regular() -> None:
    followers, link = admitted()
    link.send(Propose(b"secrets"))
    assert hear(followers, 1.0) == [b"secrets"]
    link.receive()
    for now in (1.0, 1.5, 2.0):
        followers.beat(STATE.serial, now)
    assert [link.receive(), link.receive(), link.receive()] == [Beat(1), Beat(1), None]


@pytest.mark.parametrize(("serves", "patience"), [(False, ENTER_SECONDS), (True, ACK_SECONDS)])
def test_patience_ends_after_its_time_and_not_with_it(serves: bool, patience: float) -> None:
    followers, link = admitted()
    if serves:
        link.send(Ack(STATE.serial))
    hear(followers, 0.0)
    hear(followers, patience)
    assert len(followers) == 1
    hear(followers, patience + 0.001)
    assert len(followers) == 0
    link.receive()
    with pytest.raises(PeerGone):
        link.receive()


def test_who_owes_a_state_is_dropped_whatever_else_it_says() -> None:
    followers, link = admitted()
    link.send(Ack(1))
    hear(followers, 0.0)
    followers.push(replace(STATE, serial=2), 10.0)
    followers.push(replace(STATE, serial=3), 14.0)  # it owes the second since ten
    for now in (11.0, 15.0):
        link.send(Ack(1))
        hear(followers, now)
        assert followers.serving == {NAME}
    link.send(Ack(1))
    hear(followers, 15.001)
    assert len(followers) == 0


def test_who_has_what_it_owed_has_time_for_the_next() -> None:
    followers, link = admitted()
    link.send(Ack(1))
    hear(followers, 0.0)
    followers.push(replace(STATE, serial=2), 10.0)
    link.send(Ack(2))
    link.send(Ack(1))  # late, and of no meaning any more
    hear(followers, 11.0)
    assert followers.have(2)
    followers.push(replace(STATE, serial=3), 14.0)
    link.send(Ack(2))
    hear(followers, 19.0)
    assert followers.serving == {NAME}
    assert not followers.have(3)


def test_who_takes_nothing_any_more_is_dropped() -> None:
    followers, link = admitted()
    link.close()
    followers.push(replace(STATE, serial=2), 1.0)
    assert len(followers) == 0
    followers, link = admitted()
    link.close()
    followers.beat(1, 1.0)
    assert len(followers) == 0


def test_all_are_let_go() -> None:
    followers, link = admitted()
    followers.close()
    assert (len(followers), followers.links) == (0, [])
    assert link.receive() == STATE
    with pytest.raises(PeerGone):
        link.receive()
