"""Frames over sockets that never block."""

import contextlib
import socket
from pathlib import Path

import pytest

from enclave_server.addresses import TcpAddress, UnixAddress, listen_socket
from enclave_server.cluster.stream import (
    MAX_QUEUED_BYTES,
    MAX_READ_BYTES,
    Dial,
    FrameStream,
    PeerGone,
)
from protocol.cluster_channel import MAX_MESSAGE_BYTES
from protocol.cluster_frames import MAX_FRAME_BYTES, encode_frame


def pair() -> tuple[FrameStream, socket.socket]:
    ours, theirs = socket.socketpair()
    return FrameStream(ours), theirs


def test_frames_arrive_and_what_came_before_the_end_is_read() -> None:
    stream, peer = pair()
    assert stream.next() is None
    peer.sendall(encode_frame(b"one") + encode_frame(b"two"))
    peer.close()
    assert [stream.next(), stream.next()] == [b"one", b"two"]
    with pytest.raises(PeerGone):
        stream.next()


def test_a_frame_that_is_cut_or_too_long_ends_it() -> None:
    for data in (encode_frame(b"frame")[:-1], b"\xff\xff", b"\0\0"):
        stream, peer = pair()
        peer.sendall(data)
        peer.close()
        with pytest.raises(PeerGone):
            stream.next()


def test_a_peer_that_reads_nothing_is_given_up() -> None:
    stream, peer = pair()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frames = [bytes(MAX_FRAME_BYTES)] * (8 * MAX_QUEUED_BYTES // MAX_FRAME_BYTES)
    with pytest.raises(PeerGone):
        stream.send(frames)


def test_it_dials(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "peer"))
    with pytest.raises(PeerGone):
        Dial(address)
    with listen_socket(address) as listener:
        stream = Dial(address).poll()
        assert stream is not None
        stream.send([b"hello"])
        accepted = FrameStream(listener.accept()[0])
        assert accepted.next() == b"hello"
        stream.close()
        accepted.close()


def test_a_peer_that_ends_in_the_middle_of_a_frame_has_not_said_it() -> None:
    first, second = encode_frame(b"first"), encode_frame(b"and second")
    data = first + second
    for size in range(len(data)):
        stream, peer = pair()
        peer.sendall(data[:size])
        peer.close()
        if size >= len(first):
            assert stream.next() == b"first"
        with pytest.raises(PeerGone):
            stream.next()


def test_no_more_is_read_than_can_be_held() -> None:
    """Whatever a peer sends: it waits in the kernel until what is here has been taken."""
    stream, peer = pair()
    peer.setblocking(False)
    frames, sent = encode_frame(b"x") * 50_000, 0
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += peer.send(frames)
        assert stream.next() == b"x"
        assert (len(stream._frames) + 1) * 3 <= MAX_READ_BYTES + 3
    assert sent > 0


def test_a_peer_may_leave_four_long_messages_unread() -> None:
    stream, _ = pair()
    with contextlib.suppress(BlockingIOError):
        while True:
            stream.socket.send(bytes(1 << 16))
    headers = 16 * 2
    stream.send([bytes(MAX_FRAME_BYTES)] * 15)
    stream.send([bytes(MAX_FRAME_BYTES - headers)])
    assert 4 * MAX_MESSAGE_BYTES == MAX_QUEUED_BYTES
    with pytest.raises(PeerGone):
        stream.send([b"x"])


def test_what_is_queued_leaves_when_the_peer_reads() -> None:
    stream, peer = pair()
    with contextlib.suppress(BlockingIOError):
        while True:
            stream.socket.send(bytes(1 << 16))
    stream.send([b"late"])
    peer.settimeout(0)
    received = bytearray()
    for _ in range(100):
        assert stream.next() is None
        with contextlib.suppress(BlockingIOError):
            received += peer.recv(1 << 20)
    assert received.endswith(encode_frame(b"late"))


def test_nobody_listens_at_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    dial = Dial(TcpAddress("127.0.0.1", port))
    with pytest.raises(PeerGone):
        dial.poll()  # on loopback it is refused at once
    dial.close()  # once more does no harm


def test_a_connection_that_is_not_there_yet_is_awaited() -> None:
    """A full backlog drops the request to connect, as a distant silent host does."""
    with socket.socket() as silent, socket.socket() as one, socket.socket() as other:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for filler in (one, other):
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        dials = [Dial(TcpAddress(*silent.getsockname())) for _ in range(3)]
        assert dials[-1].poll() is None


def test_who_hangs_up_is_gone_for_who_sends() -> None:
    stream, peer = pair()
    peer.close()
    with pytest.raises(PeerGone):
        stream.send([b"x"])


def test_nobody_is_waited_for_who_has_not_taken_a_dial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []

    class Busy:
        def register(self, *_: object) -> None:
            """Nothing comes of it."""

        def poll(self, milliseconds: int) -> list[tuple[int, int]]:
            waited.append(milliseconds)
            return []

    address = UnixAddress(str(tmp_path / "door"))
    with listen_socket(address):
        dial = Dial(address)
        monkeypatch.setattr("select.poll", Busy)
        assert dial.poll() is None
        dial.close()
    assert waited == [0]
