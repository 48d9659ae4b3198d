"""The sealed channel: both secrets are needed, and every frame has its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.cluster_channel import (
    MAX_MESSAGE_BYTES,
    Channel,
    Opening,
    Sealing,
    follower_channel,
    leader_channel,
)
from protocol.cluster_frames import MAX_FRAME_BYTES
from protocol.errors import KeyRejected, MalformedMessage
from protocol.hpke import Aead, Kdf, Recipient, Sender, setup_recipient, setup_sender
from protocol.kem import X25519_HKDF_SHA256 as KEM

SUITE = Kdf.HKDF_SHA256, Aead.AES_256_GCM


def ends() -> tuple[Sender, Recipient]:
    key = KEM.load_private_key(b"k" * 32)
    sender = setup_sender(KEM, key.public_key, *SUITE, b"info")
    return sender, setup_recipient(KEM, sender.enc, key, *SUITE, b"info")


def channels() -> tuple[Channel, Channel]:
    (down, down_end), (up, up_end) = ends(), ends()
    return leader_channel(down, up_end), follower_channel(down_end, up)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=40_000), max_size=4))
def test_messages_pass_in_both_directions(messages: list[bytes]) -> None:
    leader, follower = channels()
    for message in messages:
        for one, other in ((leader, follower), (follower, leader)):
            frames = one.sealing.seal(message)
            assert max(map(len, frames)) <= MAX_FRAME_BYTES
            opened = [other.opening.open(frame) for frame in frames]
            assert opened == [*[None] * (len(frames) - 1), message]


def test_one_secret_alone_opens_and_writes_nothing() -> None:
    """The host knows the secret that it sent itself, and not the one between the two enclaves."""
    (down, down_end), (up, _) = ends(), ends()
    hosts, _ = ends()
    follower = follower_channel(down_end, up)
    forged = leader_channel(down, ends()[1])
    with pytest.raises(KeyRejected):
        follower.opening.open(forged.sealing.seal(b"state")[0])
    (down, down_end), (up, up_end) = ends(), ends()
    leader = leader_channel(down, up_end)
    eavesdropper = follower_channel(ends()[1], hosts)
    with pytest.raises(KeyRejected):
        eavesdropper.opening.open(leader.sealing.seal(b"state")[0])


def test_a_frame_repeated_skipped_turned_or_cut_does_not_open() -> None:
    long = b"m" * (MAX_FRAME_BYTES + 1)
    leader, follower = channels()
    first, second = leader.sealing.seal(long)
    with pytest.raises(KeyRejected):
        follower.opening.open(second)
    with pytest.raises(KeyRejected):
        leader.opening.open(first)  # its own, sent back
    for size in (0, 1, 15, 16, len(first) - 1):
        with pytest.raises(KeyRejected):
            follower.opening.open(first[:size])
    assert follower.opening.open(first) is None
    with pytest.raises(KeyRejected):
        follower.opening.open(first)
    assert follower.opening.open(second) == long


def test_a_message_has_a_limit_at_both_ends() -> None:
    key = bytes(32)
    sealing, opening = Sealing(key), Opening(key)
    for message in (b"", bytes(MAX_MESSAGE_BYTES + 1)):
        with pytest.raises(ValueError, match="octets"):
            sealing.seal(message)
    limit = bytes(MAX_MESSAGE_BYTES)
    assert [opening.open(frame) for frame in sealing.seal(limit)][-1] == limit
    frames = [sealing._seal(bytes(MAX_FRAME_BYTES - 16), b"more") for _ in range(5)]
    with pytest.raises(MalformedMessage):
        [opening.open(frame) for frame in frames]
