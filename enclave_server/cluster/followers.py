"""A leader's followers: what each has, and when it was heard of last."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from enclave_server.cluster.handshake import Follower
from enclave_server.cluster.link import Link
from enclave_server.cluster.stream import PeerGone
from protocol.cluster_state import Ack, Beat, Propose, State
from protocol.errors import ProtocolError

ACK_SECONDS = 5.0
"""For a member to serve with a new state, or to say anything; one that does not is dropped."""

ENTER_SECONDS = 30.0
"""The same for one that has just joined: it forks its workers first."""

BEAT_SECONDS = 1.0


@dataclass(slots=True)
class _Place:
    """One follower; times are of a monotonic clock."""

    link: Link
    sent: int
    sent_at: float
    heard_at: float
    acknowledged: int = 0

    def is_late(self, now: float) -> bool:
        """Whether it is to be dropped."""
        patience = ACK_SECONDS if self.acknowledged else ENTER_SECONDS
        is_behind = self.acknowledged < self.sent and now - self.sent_at > patience
        return is_behind or now - self.heard_at > patience


class Followers:
    """All that a leader has admitted, by identifier."""

    def __init__(self) -> None:
        self._places: dict[bytes, _Place] = {}
        self._beat_at = -math.inf

    def __len__(self) -> int:
        return len(self._places)

    @property
    def serving(self) -> frozenset[bytes]:
        """Those that serve with some state of this leader's."""
        return frozenset(name for name, place in self._places.items() if place.acknowledged)

    @property
    def links(self) -> list[Link]:
        """The links to all."""
        return [place.link for place in self._places.values()]

    def have(self, serial: int) -> bool:
        """Whether all that serve do so with this state, or a newer one."""
        places = (place for place in self._places.values() if place.acknowledged)
        return all(place.acknowledged >= serial for place in places)

    def add(self, follower: Follower, state: State, now: float) -> None:
        """Take a new one, and send it the state."""
        place = _Place(follower.link, state.serial, now, now)
        self._places[follower.member] = place
        self._send(follower.member, place, state)

    def push(self, state: State, now: float) -> None:
        """Send a new state to all."""
        for name, place in list(self._places.items()):
            if place.acknowledged >= place.sent:
                place.sent_at = now  # else it owes the one before for longer already
            place.sent = state.serial
            self._send(name, place, state)

    def beat(self, serial: int, now: float) -> None:
        """Tell all, now and again, that the leader is there."""
        if now < self._beat_at:
            return
        self._beat_at = now + BEAT_SECONDS
        for name, place in list(self._places.items()):
            self._send(name, place, Beat(serial))

    def receive(self, now: float) -> Iterator[bytes]:
        """Note what all have acknowledged, drop who is gone or late; yield proposed secrets."""
        for name, place in list(self._places.items()):
            try:
                yield from self._read(place, now)
            except (PeerGone, ProtocolError):
                self._drop(name)
                continue
            if place.is_late(now):
                self._drop(name)

    def close(self) -> None:
        """Drop all."""
        for name in list(self._places):
            self._drop(name)

    def _read(self, place: _Place, now: float) -> Iterator[bytes]:
        while (message := place.link.receive()) is not None:
            place.heard_at = now
            match message:
                case Ack(serial) if serial <= place.sent:
                    place.acknowledged = max(place.acknowledged, serial)
                case Propose(secrets):
                    yield secrets
                case _:
                    raise PeerGone

    def _send(self, name: bytes, place: _Place, message: State | Beat) -> None:
        try:
            place.link.send(message)
        except PeerGone:
            self._drop(name)

    def _drop(self, name: bytes) -> None:
        self._places.pop(name).link.close()
