"""Carrying bytes between two connected sockets, unseen and unchanged.

A `Half` owns one socket and the direction that starts there. The two directions share nothing
but their sockets, so a blocked one never stops the other. Bytes go through one buffer that the
whole process shares. Bulk from a TCP or Unix socket moves through a borrowed pipe inside the
kernel until it ebbs: measured, that takes a third of the CPU time of copying from TCP, and four
fifths from Unix. vsock cannot lend its pages, so its bulk is copied. An idle connection holds
neither buffer nor pipe. What goes to vsock goes in small writes, whatever came at once.
"""

import os
import socket
import struct
from collections.abc import Callable
from enum import Enum
from errno import EINVAL, ENOSYS, EOPNOTSUPP
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Final

from host_proxy.loop import Loop
from host_proxy.pipes import PIPE_BYTES, Pipe, PipePool

BUFFER_BYTES: Final = 1 << 18  # what a Unix or vsock sender has in flight by default
BULK_BYTES: Final = 1 << 16  # a read of this size begins bulk
EBB_BYTES: Final = 1 << 14  # a splice that moves less than this ends it
# One write to vsock becomes one packet. Since Linux 6.12.69 one above 32,404 bytes may take three
# descriptors in place of two, and Nitro's other end has been seen to corrupt those silently. The
# enclave's own kernel is built never to send one, so its server writes as it likes; the host's
# kernel is anybody's.
VSOCK_WRITE_BYTES: Final = 28 << 10
SMALL_WRITE_FAMILIES: Final = frozenset((socket.AF_VSOCK,))
LINGER_SECONDS: Final = 2.0  # for a client to read an answer that came before its upload ended
PARKED: Final = -1  # not watched at all: nothing to await but the hang-up it has already had

TCP_FAMILIES: Final = frozenset((socket.AF_INET, socket.AF_INET6))
SPLICED_FAMILIES: Final = TCP_FAMILIES | {socket.AF_UNIX}

_buffer: Final = bytearray(BUFFER_BYTES)
_view: Final = memoryview(_buffer)
_SPLICE: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_CANNOT_SPLICE: Final = frozenset((EINVAL, ENOSYS, EOPNOTSUPP))
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, no seconds


class Ending(Enum):
    """Why a session is over; the word in counters."""

    FINISHED = "finished"  # both directions ended in order
    ABORTED = "aborted"  # one side was reset or vanished; the other was told by a reset
    CURTAILED = "curtailed"  # the upstream closed while the client was still sending
    IDLE = "idle"  # no byte either way for too long
    RELEASED = "released"  # silent after its answer while the proxy drained; closed in order
    DRAINED = "drained"  # still open when the time to stop had come
    UNREACHABLE = "unreachable"  # no connection to the upstream within its time


_ORDERLY: Final = frozenset((Ending.FINISHED, Ending.CURTAILED, Ending.RELEASED))


class Half:
    """One socket of a pair, and the direction from it to its peer."""

    __slots__ = (
        "_armed",
        "_bulk",
        "_held",
        "_may_splice",
        "_pair",
        "_pipe",
        "blocked",
        "carried",
        "ended",
        "fd",
        "peer",
        "shut",
        "sock",
        "write_bytes",
    )

    peer: "Half"

    def __init__(self, sock: socket.socket, pair: "Pair") -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.carried = 0  # bytes that the peer's socket has taken
        self.blocked = False  # bytes are held that the peer's socket does not take now
        self.ended = False  # nothing more is read from this socket
        self.shut = False  # nothing more is written to this socket
        small = sock.family in SMALL_WRITE_FAMILIES
        self.write_bytes = VSOCK_WRITE_BYTES if small else PIPE_BYTES  # at once
        self._pair = pair
        self._held: memoryview | None = None
        self._pipe: Pipe | None = None
        self._may_splice = sock.family in SPLICED_FAMILIES
        self._bulk = False  # until one read brings as much
        self._armed = EPOLLIN

    def ready(self, events: int) -> None:
        """Handle the socket's events."""
        if events == EPOLLIN:
            self.carry()
            return
        if events & EPOLLERR:
            self._broken()
            return
        if self.peer.blocked:  # a mere hang-up, too: only writing tells that nobody takes it
            self.peer.flush()
        if self._pair.over:
            return
        if events & (EPOLLIN | EPOLLHUP) and self._armed & EPOLLIN:
            self.carry()
        elif events & EPOLLHUP and self._armed == 0:
            self._park()

    def _broken(self) -> None:
        """Read what came before a reset; the read that meets it, or the lack of any, aborts.

        A write would clear the error, and the peer would see an orderly end.
        """
        if self._armed & EPOLLIN:
            self.carry()
        else:
            self._pair.abort()

    def carry(self) -> None:
        """Read once and pass on what came."""
        if self._bulk:
            self._carry_bulk()
            return
        try:
            size = self.sock.recv_into(_buffer)
        except BlockingIOError:
            return
        except OSError:
            self._pair.abort()
            return
        if size == 0:
            self._end()
            return
        self._pair.latest = self
        peer = self.peer
        try:  # most is small: this saves a call for each message
            if size <= peer.write_bytes:
                sent = peer.sock.send(_view[:size])
            else:
                sent = peer.send(_view[:size])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._pair.sink_gone(self)
            return
        self.carried += sent
        if sent < size:
            self._held = memoryview(bytes(_view[sent:size]))
            self._block()
        elif size >= BULK_BYTES:
            self._bulk = self._may_splice

    def send(self, data: memoryview) -> int:
        """Write what this socket takes now, in writes that suit its family; return how much."""
        sent = 0
        try:
            while sent < len(data):
                sent += self.sock.send(data[sent : sent + self.write_bytes])
        except BlockingIOError:
            return sent
        return sent

    def flush(self) -> None:
        """Pass on what is held, now that the peer's socket takes bytes again."""
        if self._pipe is not None:
            self._empty(self._pipe)
            return
        if self._held is None:
            return
        try:
            sent = self.peer.send(self._held)
        except OSError:
            self._pair.sink_gone(self)
            return
        self.carried += sent
        self._held = self._held[sent:] if sent < len(self._held) else None
        if self._held is None:
            self._unblock()

    def drop(self) -> None:
        """Forget what is held and stop holding up the reading."""
        self._held = None
        self.blocked = False
        self._release()

    def await_events(self) -> None:
        """Tell epoll what this socket is waited for."""
        events = EPOLLOUT if self.peer.blocked else 0
        if not self.ended and not self.blocked:
            events |= EPOLLIN
        if events == self._armed or (self._armed == PARKED and not events):
            return
        if self._armed == PARKED:
            self._pair.loop.resume(self.fd, events)
        else:
            self._pair.loop.change(self.fd, events)
        self._armed = events

    def _park(self) -> None:
        """Stop being told of a hang-up that level-triggered epoll would repeat for ever."""
        self._pair.loop.pause(self.fd)
        self._armed = PARKED

    def _carry_bulk(self) -> None:
        """Move what there is into a pipe, and on from there."""
        pipe = self._pair.pipes.borrow()
        if pipe is None:
            self._bulk = False
            return
        self._pipe = pipe
        try:
            pipe.held = os.splice(self.fd, pipe.write_end, PIPE_BYTES, flags=_SPLICE)
        except OSError as error:
            self._release()
            self._bulk = False
            self._splice_failed(error)
            return
        self._bulk = pipe.held >= EBB_BYTES
        self._pair.latest = self
        if pipe.held:
            self._empty(pipe)
        else:
            self._release()
            self._end()

    def _splice_failed(self, error: OSError) -> None:
        """Copy from now on where the kernel cannot splice; otherwise the socket is broken."""
        if error.errno in _CANNOT_SPLICE:
            self._may_splice = False
        elif not isinstance(error, BlockingIOError):
            self._pair.abort()

    def _empty(self, pipe: Pipe) -> None:
        """Move the pipe's bytes to the peer, as many as it takes."""
        try:
            while pipe.held:
                size = min(pipe.held, self.peer.write_bytes)
                sent = os.splice(pipe.read_end, self.peer.fd, size, flags=_SPLICE)
                pipe.held -= sent
                self.carried += sent
        except BlockingIOError:
            self._block()
            return
        except OSError as error:
            self._unsplice(pipe, error)
            return
        self._release()
        if self.blocked:
            self._unblock()

    def _unsplice(self, pipe: Pipe, error: OSError) -> None:
        """Hold the pipe's bytes in memory where the kernel cannot splice to the peer."""
        self._bulk = False
        if error.errno in _CANNOT_SPLICE:
            self._may_splice = False
            self._held = memoryview(os.read(pipe.read_end, pipe.held))
            pipe.held = 0
            self._release()
            self._block()
        else:
            self._release()
            self._pair.sink_gone(self)

    def _release(self) -> None:
        if self._pipe is not None:
            self._pair.pipes.give_back(self._pipe)
            self._pipe = None

    def _block(self) -> None:
        if self.blocked:
            return
        self.blocked = True
        self.await_events()
        self.peer.await_events()

    def _unblock(self) -> None:
        self.blocked = False
        self.await_events()
        self.peer.await_events()

    def _end(self) -> None:
        """Pass on the end of the stream; nothing can be held, for then nothing is read."""
        self.ended = True
        self._pair.half_ended(self)
        if not self._pair.over:
            self.await_events()


class Pair:
    """Two connected sockets and the bytes on their way between them."""

    __slots__ = (
        "_discarding",
        "_on_over",
        "_quiet_bytes",
        "_quiet_since",
        "client",
        "latest",
        "loop",
        "over",
        "pipes",
        "upstream",
    )

    def __init__(
        self,
        loop: Loop,
        pipes: PipePool,
        sockets: tuple[socket.socket, socket.socket],
        on_over: "Callable[[Pair, Ending], None]",
    ) -> None:
        self.loop = loop
        self.pipes = pipes
        self.over = False
        self.client, self.upstream = (Half(sock, self) for sock in sockets)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.latest: Half | None = None  # whose bytes were the last to be carried
        self._on_over = on_over
        self._discarding = False
        self._quiet_bytes = -1  # which were never carried: so the first look begins the silence
        for half in (self.client, self.upstream):
            loop.watch(half.fd, EPOLLIN, half)

    def half_ended(self, half: Half) -> None:
        """Pass the end of one direction on; with both ended the pair is over."""
        half.peer.shut = True
        if not (self._discarding and half is self.client):
            try:
                half.peer.sock.shutdown(socket.SHUT_WR)
            except OSError:  # the peer is gone altogether
                self.sink_gone(half)
        half.peer.flush()  # what has ended may be gone, and vsock tells that only to a sender
        if self.over:
            return
        if half.shut:
            self.finish(Ending.CURTAILED if self._discarding else Ending.FINISHED)
        elif self._discarding:
            self._linger()

    def sink_gone(self, half: Half) -> None:
        """Deal with a peer that takes no more of the bytes that come from `half`.

        When the client is gone, the upstream must notice: abort. When the upstream has closed
        while the client still sends, its answer may be on the way, and a reset would destroy it:
        let the client have the answer, and read what it sends until it has.
        """
        if half is self.upstream:
            self.abort()
        elif not self._discarding:
            self._discarding = True
            half.drop()
            half.await_events()
            self.upstream.await_events()
            if self.upstream.ended:
                self._linger()

    def _linger(self) -> None:
        self.loop.later(LINGER_SECONDS, lambda: self.finish(Ending.CURTAILED))

    def quiet_for(self, now: float) -> float:
        """Return the seconds for which no byte has been carried, as seen at these calls."""
        carried = self.client.carried + self.upstream.carried
        if carried != self._quiet_bytes:
            self._quiet_bytes, self._quiet_since = carried, now
        return now - self._quiet_since

    def answered_for(self, now: float) -> float:
        """Return the seconds of silence since the upstream's last byte, 0 while it is asked.

        Where the client's bytes were the last, an answer is to come, however long it takes.
        """
        if self.latest is self.client or self.client.blocked or self.upstream.blocked:
            return 0.0
        return self.quiet_for(now)

    def abort(self) -> None:
        """Close both sockets so that both peers see a failure, not an orderly end."""
        self.finish(Ending.ABORTED)

    def finish(self, ending: Ending) -> None:
        """Close both sockets, with a reset for TCP peers unless the ending is orderly."""
        if self.over:
            return
        self.over = True
        for half in (self.client, self.upstream):
            half.drop()
            if ending not in _ORDERLY:
                reset_on_close(half.sock)
            self.loop.close(half.sock)
        self._on_over(self, ending)


def reset_on_close(sock: socket.socket) -> None:
    """Make closing a TCP socket tell its peer by a reset; other families just close."""
    if sock.family in TCP_FAMILIES:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
