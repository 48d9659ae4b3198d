"""A leader's followers: heard, dropped when late, and told of everything."""

from enclave_server.cluster.followers import ACK_SECONDS, ENTER_SECONDS, Followers
from enclave_server.cluster.handshake import Follower
from enclave_server.cluster.link import Link
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
