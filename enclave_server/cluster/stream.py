"""A connection to another enclave: frames over a socket that never blocks."""

import contextlib
import select
import socket
from collections import deque
from collections.abc import Iterable

from enclave_server.addresses import Address, connect_socket
from protocol.cluster_frames import FrameReader, encode_frame
from protocol.errors import MalformedMessage

MAX_QUEUED_BYTES = 256 * 1024
"""What a peer may leave unread: four of the longest messages."""

MAX_READ_BYTES = 128 * 1024
"""What is read in one turn, so that no peer keeps the supervisor from its workers."""

_PIECE_BYTES = 16 * 1024


class PeerGone(Exception):
    """The connection has ended, or is of no use any more."""


class FrameStream:
    """Sends and receives frames; the owner asks again and again, and closes."""

    __slots__ = ("_frames", "_is_over", "_queued", "_reader", "socket")

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connected socket."""
        connection.setblocking(False)
        self.socket = connection
        self._reader = FrameReader()
        self._frames: deque[bytes] = deque()
        self._queued = bytearray()
        self._is_over = False

    def send(self, contents: Iterable[bytes]) -> None:
        """Queue a frame for each content, and send what can be sent; raises PeerGone."""
        for content in contents:
            self._queued += encode_frame(content)
        self.flush()
        if len(self._queued) > MAX_QUEUED_BYTES:
            raise PeerGone

    def flush(self) -> None:
        """Send what is queued, as far as the peer takes it; raises PeerGone."""
        try:
            while self._queued:
                del self._queued[: self.socket.send(self._queued)]
        except BlockingIOError:
            return
        except OSError:
            raise PeerGone from None

    def next(self) -> bytes | None:
        """Return the next frame's content, None if it is not there yet; raises PeerGone."""
        self.flush()
        if not self._frames and not self._is_over:
            self._fill()
        if self._frames:
            return self._frames.popleft()
        if self._is_over:
            raise PeerGone
        return None

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def _fill(self) -> None:
        for _ in range(MAX_READ_BYTES // _PIECE_BYTES):
            try:
                data = self.socket.recv(_PIECE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._is_over = True
                return
            try:
                self._frames += self._reader.feed(data)
            except MalformedMessage:
                self._is_over = True
                return


class Dial:
    """A connection that is being made."""

    __slots__ = ("_socket",)

    def __init__(self, address: Address) -> None:
        """Begin to connect; raises PeerGone if nobody is there."""
        try:
            self._socket = connect_socket(address)
        except OSError:
            raise PeerGone from None

    def poll(self) -> FrameStream | None:
        """Return the connection once it is there; raises PeerGone if there is none to be had."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(0):
            return None
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.close()
            raise PeerGone
        return FrameStream(self._socket)

    def close(self) -> None:
        """Give up."""
        with contextlib.suppress(OSError):
            self._socket.close()
