"""Both ends of a join, each over one connection and with a deadline for all of it.

Who connects is a follower; who is connected to leads, or says that it waits itself. A peer learns
that it is refused by the end of the connection, and never why.
"""

from collections.abc import Callable
from dataclasses import dataclass

from enclave_server.cluster.identity import Identity, new_member
from enclave_server.cluster.link import Link
from enclave_server.cluster.stream import Dial, FrameStream, PeerGone
from enclave_server.security_module.nsm import NsmError
from protocol.cluster_join import (
    Entering,
    Joining,
    Leadership,
    Leading,
    Wait,
    lead,
    read_hello,
    wait,
)
from protocol.cluster_state import State
from protocol.errors import ProtocolError

JOIN_SECONDS = 5.0
"""For a whole join: it takes some 20 milliseconds and two round trips."""


class Refused(Exception):
    """A join that leads nowhere; `reason` is a word of ours for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Joined:
    """A follower's place: its identifier there, its link to the leader, the state that came."""

    member: bytes
    link: Link
    state: State


@dataclass(frozen=True, slots=True)
class Follower:
    """A follower that a leader has admitted."""

    member: bytes
    link: Link


Wanted = Callable[[Leadership], bool]
"""Whether to join that leader."""


class Approach:
    """A follower's way to a leader."""

    def __init__(self, dial: Dial, identity: Identity, wanted: Wanted, now: float) -> None:
        """`now` is of a monotonic clock, as in `step`."""
        self._dial: Dial | None = dial
        self._stream: FrameStream | None = None
        self._joining: Joining | None = Joining(identity.attest, identity.equality)
        self._entering: Entering | None = None
        self._link: Link | None = None
        self._wanted = wanted
        self._member = new_member()
        self._deadline = now + JOIN_SECONDS

    @property
    def stream(self) -> FrameStream | None:
        """The connection, once there is one."""
        return self._stream

    def step(self, now: float, unix: float) -> Joined | Wait | None:
        """Go on as far as it goes; None if the peer has to say more. Raises Refused."""
        try:
            return self._step(now, unix)
        except PeerGone:
            raise Refused("gone") from None
        except ProtocolError as error:
            raise Refused(type(error).__name__) from None
        except NsmError as error:
            raise Refused(error.code) from None

    def close(self) -> None:
        """Give up."""
        if self._dial is not None:
            self._dial.close()
        if self._stream is not None:
            self._stream.close()

    def _step(self, now: float, unix: float) -> Joined | Wait | None:
        if now > self._deadline:
            raise Refused("late")
        if self._dial is not None:
            self._connect(self._dial)
        while self._link is None:
            frame = None if self._stream is None else self._stream.next()
            if frame is None:
                return None
            waiting = self._read(frame, unix)
            if waiting is not None:
                return waiting
        message = self._link.receive()
        if message is None:
            return None
        if not isinstance(message, State):
            raise Refused("no state")
        return Joined(self._member, self._link, message)

    def _connect(self, dial: Dial) -> None:
        stream = dial.poll()
        if stream is None:
            return
        self._dial, self._stream = None, stream
        if self._joining is not None:
            stream.send([self._joining.hello])

    def _read(self, frame: bytes, unix: float) -> Wait | None:
        if self._joining is not None:
            joining, self._joining = self._joining, None
            offer = joining.read(frame, unix)
            if isinstance(offer, Wait):
                return offer
            if not self._wanted(offer.leadership):
                raise Refused("unwanted")
            join, self._entering = offer.join(self._member)
            if self._stream is not None:
                self._stream.send([join])
        elif self._entering is not None and self._stream is not None:
            self._link = Link(self._stream, self._entering.enter(frame))
        return None


class Entrance:
    """A leader's side of one connection."""

    def __init__(self, stream: FrameStream, identity: Identity, now: float) -> None:
        self.stream = stream
        self._identity = identity
        self._leading: Leading | None = None
        self._deadline = now + JOIN_SECONDS

    def step(
        self, now: float, unix: float, leads: Leadership | None, waits: bytes
    ) -> Follower | None:
        """Go on as far as it goes; raises Refused, also once a peer has been told to wait."""
        try:
            return self._step(now, unix, leads, waits)
        except PeerGone:
            raise Refused("gone") from None
        except ProtocolError as error:
            raise Refused(type(error).__name__) from None
        except NsmError as error:
            raise Refused(error.code) from None

    def _step(
        self, now: float, unix: float, leads: Leadership | None, waits: bytes
    ) -> Follower | None:
        if now > self._deadline:
            raise Refused("late")
        frame = self.stream.next()
        if frame is None:
            return None
        if leads is None:
            read_hello(frame)
            self.stream.send([wait(waits)])
            raise Refused("wait")
        if self._leading is None:
            identity = self._identity
            answer, self._leading = lead(frame, leads, identity.attest, identity.equality, unix)
            self.stream.send([answer])
            return None
        welcome, admitted = self._leading.admit(frame, unix)
        self.stream.send([welcome])
        return Follower(admitted.member, Link(self.stream, admitted.channel))

    def close(self) -> None:
        """End it."""
        self.stream.close()
