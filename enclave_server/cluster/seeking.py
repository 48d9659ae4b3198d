"""A search for a leader: every peer is asked, again and again, all at the same time."""

import math
import socket
from collections.abc import Sequence

from enclave_server.addresses import Address
from enclave_server.cluster.handshake import Approach, Joined, Refused, Wanted
from enclave_server.cluster.identity import Identity
from enclave_server.cluster.stream import Dial, PeerGone
from protocol.cluster_join import Wait

SEARCH_SECONDS = 0.3
"""Between two questions to one peer, for who has no leader."""


class _Peer:
    """One address: what goes on there, and how it ended before."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.approach: Approach | None = None
        self.due = -math.inf
        self.rounds = 0
        self.waits: bytes | None = None
        self.is_silent = False


class Search:
    """Looks for a leader that is `wanted`, until there is one or nobody asks for it any more."""

    def __init__(
        self,
        peers: Sequence[Address],
        identity: Identity,
        wanted: Wanted,
        pause: float = SEARCH_SECONDS,
    ) -> None:
        self._peers = [_Peer(address) for address in peers]
        self._identity = identity
        self._wanted = wanted
        self._pause = pause

    def has_asked(self, times: int) -> bool:
        """Whether every peer has been asked so often, as it has where there is none."""
        return all(peer.rounds >= times for peer in self._peers)

    @property
    def waiting(self) -> list[bytes]:
        """The nonces of peers that wait themselves, as of the last answers."""
        return [peer.waits for peer in self._peers if peer.waits is not None]

    @property
    def has_silent(self) -> bool:
        """Whether a peer takes connections and says nothing: it may be a leader that hangs."""
        return any(peer.is_silent for peer in self._peers)

    @property
    def sockets(self) -> list[socket.socket]:
        """What to wait for."""
        approaches = (peer.approach for peer in self._peers if peer.approach is not None)
        return [each.stream.socket for each in approaches if each.stream is not None]

    def step(self, now: float, unix: float) -> Joined | None:
        """Go on with all; return the first place that is found, after which the search is over."""
        for peer in self._peers:
            joined = self._ask(peer, now, unix)
            if joined is not None:
                peer.approach = None  # its connection is the link now
                self.close()
                return joined
        return None

    def close(self) -> None:
        """Give up what goes on."""
        for peer in self._peers:
            if peer.approach is not None:
                peer.approach.close()
                peer.approach = None

    def _ask(self, peer: _Peer, now: float, unix: float) -> Joined | None:
        if peer.approach is None:
            if now < peer.due:
                return None
            try:
                peer.approach = Approach(Dial(peer.address), self._identity, self._wanted, now)
            except PeerGone:
                self._note(peer, now)
                return None
        try:
            answer = peer.approach.step(now, unix)
        except Refused as refusal:
            self._note(peer, now, is_silent=refusal.reason == "late")
            return None
        if isinstance(answer, Wait):
            self._note(peer, now, waits=answer.nonce)
            return None
        return answer

    def _note(
        self, peer: _Peer, now: float, *, waits: bytes | None = None, is_silent: bool = False
    ) -> None:
        if peer.approach is not None:
            peer.approach.close()
        peer.approach = None
        peer.due = now + self._pause
        peer.rounds += 1
        peer.waits = waits
        peer.is_silent = is_silent
