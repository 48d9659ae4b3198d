"""Messages over a link: in order, whole, and of the peer alone."""

import socket

import pytest

from enclave_server.cluster.link import Link
from enclave_server.cluster.stream import FrameStream
from protocol.cluster_state import Ack, Propose
from protocol.errors import KeyRejected
from tests.protocol.test_cluster_channel import channels


def links() -> tuple[Link, Link]:
    leader, follower = channels()
    ours, theirs = socket.socketpair()
    return Link(FrameStream(ours), leader), Link(FrameStream(theirs), follower)


def test_messages_pass() -> None:
    one, other = links()
    assert other.receive() is None
    one.send(Propose(b"s" * 20_000))
    one.send(Ack(2))
    assert [other.receive(), other.receive(), other.receive()] == [
        Propose(b"s" * 20_000),
        Ack(2),
        None,
    ]


def test_what_somebody_else_writes_is_refused() -> None:
    one, other = links()
    one.stream.send([b"forged" * 10])
    with pytest.raises(KeyRejected):
        other.receive()
