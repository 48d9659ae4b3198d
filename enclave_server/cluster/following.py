"""A follower's side of a member: it takes its leader's states, serves with them, and says so."""

import socket
from dataclasses import replace

from enclave_server.cluster.followers import ACK_SECONDS
from enclave_server.cluster.handshake import Joined
from enclave_server.cluster.part import Part
from enclave_server.cluster.stream import PeerGone
from protocol.cluster_state import Ack, Beat, Propose, State


class Uplink:
    """The link to a leader; times are of a monotonic clock."""

    def __init__(self, joined: Joined, now: float) -> None:
        """Take over the link of `joined`, whose state has been taken."""
        self.joined = joined
        self._heard_at = now
        self._owes = True

    @property
    def socket(self) -> socket.socket:
        """What to wait for."""
        return self.joined.link.stream.socket

    def step(self, part: Part, unix: float, now: float, *, settled: bool) -> None:
        """Take what the leader says, and tell it once all workers serve with that.

        Raises PeerGone for a leader that is silent, and ProtocolError.
        """
        is_new = self._hear(part, unix, now)
        if now - self._heard_at > ACK_SECONDS:
            raise PeerGone
        # What was taken just now has not reached the workers yet.
        if self._owes and settled and not is_new:
            self._owes = False
            self.joined.link.send(Ack(self.joined.state.serial))

    def propose(self, secrets: bytes) -> None:
        """Hand on secrets; a worker says that it could not if they do not come back."""
        try:
            self.joined.link.send(Propose(secrets))
        except (PeerGone, ValueError):
            return

    def close(self) -> None:
        """End the connection."""
        self.joined.link.close()

    def _hear(self, part: Part, unix: float, now: float) -> bool:
        """Take what the leader has said; whether there was a state."""
        is_new = False
        while (message := self.joined.link.receive()) is not None:
            self._heard_at, self._owes = now, True
            match message:
                case State():
                    member = self.joined.member
                    part.keeper.replace(part.take(message, part.keeper.ring, member, unix))
                    self.joined = replace(self.joined, state=message)
                    is_new = True
                case Beat():
                    pass  # it has been heard of
                case _:
                    raise PeerGone
        return is_new
