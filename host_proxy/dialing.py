"""Connecting to an upstream: every address tried, with deadlines, again while it is away."""

import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from select import EPOLLIN, EPOLLOUT
from typing import Final

from host_proxy.addresses import Activated, Address, Tcp, Unix, Vsock, VsockUds, literal, tune
from host_proxy.loop import Loop, Timer
from host_proxy.resolver import Candidate, Lookup, Resolver, SocketAddress

ATTEMPT_DELAY_SECONDS: Final = 0.25  # RFC 8305, Section 8: Connection Attempt Delay
FIRST_PAUSE_SECONDS: Final = 0.02  # before the first new attempt; doubled for each further one
LONGEST_PAUSE_SECONDS: Final = 1.0
GREETING_BYTES: Final = 64  # "OK " and a port number, with room to spare


class Failure(Enum):
    """Why an attempt failed; the word in counters."""

    REFUSED = "refused"  # nobody listens, or the machine is not there
    TIMEOUT = "timeout"  # no connection, or no greeting, in time
    UNRESOLVED = "unresolved"  # the name has no address, or none in time


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds."""

    connect: float  # one attempt: the look-up and then the connection, each
    retry: float  # begin no new attempt after this; 0 means a single attempt


class Dial:
    """A way to one upstream; exactly one call to `done` with a socket, or None, unless cancelled.

    Each failed attempt is told to `failed`. The socket is connected and non-blocking.
    """

    __slots__ = (
        "_address",
        "_done",
        "_failed",
        "_loop",
        "_patience",
        "_pause",
        "_resolver",
        "_stage",
        "_started",
        "_timer",
    )

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        address: Address,
        patience: Patience,
        done: Callable[[socket.socket | None], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._address = address
        self._patience = patience
        self._done = done
        self._failed = failed
        self._pause = FIRST_PAUSE_SECONDS
        self._started = time.monotonic()
        self._timer: Timer | None = None
        self._stage: Lookup | Race | Greeting | None = None

    def start(self) -> None:
        """Begin an attempt; `done` may be called at once."""
        candidates = candidates_of(self._address) or self._recall()
        if candidates:
            self._race(candidates)
        else:
            self._look_up()

    def cancel(self) -> None:
        """Give up without a call to `done`."""
        self._leave_stage()

    def _recall(self) -> list[Candidate]:
        match self._address:
            case Tcp(host, port):
                return self._resolver.recall(host, port)
        return []

    def _look_up(self) -> None:
        address = self._address
        if not isinstance(address, Tcp):
            raise TypeError(f"{address} has no name to look up")
        lookup = self._resolver.look_up(address.host, address.port, self._resolved)
        if lookup is None:
            self._fail(Failure.UNRESOLVED)
            return
        self._stage = lookup
        self._limit(Failure.UNRESOLVED)

    def _resolved(self, candidates: list[Candidate]) -> None:
        self._leave_stage()
        if candidates:
            self._race(candidates)
        else:
            self._fail(Failure.UNRESOLVED)

    def _race(self, candidates: list[Candidate]) -> None:
        race = Race(self._loop, candidates, self._connected)
        self._stage = race
        race.start()
        if self._stage is race:  # not won or lost at once, as a Unix socket is
            self._limit(Failure.TIMEOUT)

    def _connected(self, sock: socket.socket | None) -> None:
        self._leave_stage()
        if sock is None:
            self._fail(Failure.REFUSED)
        elif isinstance(self._address, VsockUds):
            greeting = Greeting(self._loop, sock, self._address.port, self._greeted)
            self._stage = greeting
            self._limit(Failure.TIMEOUT)
            greeting.start()
        else:
            self._done(sock)

    def _greeted(self, sock: socket.socket | None) -> None:
        self._leave_stage()
        if sock is None:
            self._fail(Failure.REFUSED)
        else:
            self._done(sock)

    def _limit(self, failure: Failure) -> None:
        def expired() -> None:
            self._leave_stage()
            self._fail(failure)

        self._timer = self._loop.later(self._patience.connect, expired)

    def _leave_stage(self) -> None:
        stage, self._stage = self._stage, None
        timer, self._timer = self._timer, None
        if stage is not None:
            stage.cancel()
        if timer is not None:
            timer.cancel()

    def _fail(self, failure: Failure) -> None:
        """Count a failed attempt; pause before the next, or give up when there is no time left."""
        self._failed(failure)
        if isinstance(self._address, Tcp):  # the name may have moved
            self._resolver.forget(self._address.host, self._address.port)
        waited = time.monotonic() - self._started
        if waited + self._pause > self._patience.retry:
            self._done(None)
            return
        self._timer = self._loop.later(self._pause, self.start)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)


class Race:
    """Attempts at several addresses, begun one after another; the first connection wins.

    RFC 8305, Section 5: the next attempt begins when the last has failed or a delay has passed.
    """

    __slots__ = ("_candidates", "_done", "_loop", "_running", "_timer")

    def __init__(
        self,
        loop: Loop,
        candidates: list[Candidate],
        done: Callable[[socket.socket | None], None],
    ) -> None:
        self._loop = loop
        self._candidates = candidates[::-1]
        self._running: list[Attempt] = []
        self._timer: Timer | None = None
        self._done = done

    def start(self) -> None:
        """Begin with the first address."""
        self._next()

    def cancel(self) -> None:
        """Close what is under way."""
        if self._timer is not None:
            self._timer.cancel()
        for attempt in self._running:
            attempt.close()
        self._running.clear()
        self._candidates.clear()

    def ended(self, attempt: "Attempt", code: int) -> None:
        """Take the outcome of one attempt: 0 or an error number."""
        self._running.remove(attempt)
        if code:
            attempt.close()
            self._next()
        else:
            self._done(attempt.release())

    def _next(self) -> None:
        """Begin attempts until one is under way or has won; tell of defeat if all have failed."""
        if self._timer is not None:
            self._timer.cancel()
        while self._candidates:
            sock, code = connect(*self._candidates.pop())
            if sock is not None and code == 0:
                self._done(sock)
                return
            if sock is not None:
                self._running.append(Attempt(self._loop, sock, self))
                if self._candidates:
                    self._timer = self._loop.later(ATTEMPT_DELAY_SECONDS, self._next)
                return
        if not self._running:
            self._done(None)


class Attempt:
    """One connection under way."""

    __slots__ = ("_loop", "_race", "_sock")

    def __init__(self, loop: Loop, sock: socket.socket, race: Race) -> None:
        self._loop = loop
        self._sock = sock
        self._race = race
        loop.watch(sock.fileno(), EPOLLOUT, self)

    def ready(self, events: int) -> None:
        """Learn how it ended."""
        self._race.ended(self, self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def release(self) -> socket.socket:
        """Return the connected socket, no longer watched."""
        self._loop.forget(self._sock.fileno())
        return self._sock

    def close(self) -> None:
        """Give up."""
        self._loop.close(self._sock)


class Greeting:
    """`CONNECT PORT\\n` and the answer `OK …\\n`, and not a byte of what follows it."""

    __slots__ = ("_accepted", "_done", "_line", "_loop", "_port", "_sock")

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        port: int,
        done: Callable[[socket.socket | None], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._port = port
        self._line = b""
        self._accepted = False
        self._done = done

    def start(self) -> None:
        """Ask for the port."""
        self._loop.watch(self._sock.fileno(), EPOLLIN, self)
        try:
            self._sock.send(b"CONNECT %d\n" % self._port)  # fits any socket's buffer
        except OSError:
            self._done(None)

    def ready(self, events: int) -> None:
        """Read up to the end of the line."""
        try:
            peeked = self._sock.recv(GREETING_BYTES, socket.MSG_PEEK)
            line, newline, _ = peeked.partition(b"\n")
            self._line += self._sock.recv(len(line + newline)) if peeked else b""
        except BlockingIOError:
            return
        except OSError:
            peeked = newline = b""
        if not peeked or len(self._line) > GREETING_BYTES:
            self._done(None)
        elif newline:
            self._answered()

    def cancel(self) -> None:
        """Close the socket, unless it was handed on."""
        if not self._accepted:
            self._loop.close(self._sock)

    def _answered(self) -> None:
        if not self._line.startswith(b"OK "):
            self._done(None)
            return
        self._accepted = True
        self._loop.forget(self._sock.fileno())
        self._done(self._sock)


def candidates_of(address: Address) -> list[Candidate]:
    """Return what to connect to, an empty list for a name that must be looked up first."""
    match address:
        case Unix(path) | VsockUds(path, _):
            return [(socket.AF_UNIX, path)]
        case Vsock(cid, port):
            return [(socket.AF_VSOCK, (cid, port))]
        case Tcp(host, port):
            family = literal(host)
            return [] if family is None else [(family, (host, port))]
        case Activated():
            raise ValueError(f"{address} can only be listened on")


def connect(family: int, sockaddr: SocketAddress) -> tuple[socket.socket | None, int]:
    """Begin to connect: a socket, and 0 if it is done, EINPROGRESS if not; no socket: it failed."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # out of descriptors, or a family this kernel lacks
        return None, error.errno or errno.EIO
    try:
        sock.setblocking(False)
        tune(sock)
        code = sock.connect_ex(sockaddr)
    except OSError:  # no such interface in a scoped address
        code = errno.EADDRNOTAVAIL
    if code in (0, errno.EINPROGRESS):
        return sock, code
    sock.close()
    return None, code
