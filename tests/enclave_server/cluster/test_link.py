"""Messages over a link: in order, whole, and of the peer alone."""

import socket

import pytest

from enclave_server.cluster.link import Link
from enclave_server.cluster.stream import FrameStream, PeerGone
from protocol.cluster_frames import encode_frame
from protocol.cluster_state import Ack, Propose, encode_message
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


def test_a_message_whose_peer_is_gone_in_its_middle_was_never_sent() -> None:
    """Of four frames: cut at each end of one, and at every octet around it."""
    message = Propose(b"s" * 30_000)
    one, _ = links()
    sizes = [len(encode_frame(each)) for each in one._channel.sealing.seal(encode_message(message))]
    assert len(sizes) > 1
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    places = {end + beside for end in ends for beside in (-17, -2, -1, 0, 1, 2, 3)}
    for place in sorted(place for place in places if 0 <= place < ends[-1]):
        one, other = links()
        frames = one._channel.sealing.seal(encode_message(message))
        one.stream.socket.sendall(b"".join(map(encode_frame, frames))[:place])
        one.close()
        with pytest.raises(PeerGone):
            other.receive()
