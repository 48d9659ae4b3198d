"""A leader's side of a member: it tells its followers every change, and makes the next keys.

Keys are made for exactly those who serve, and announced when all of them have them. Who is slow is
dropped, and nobody waits for it: see `enclave_server.cluster.followers`.
"""

import socket
from collections.abc import Sequence
from dataclasses import replace

from enclave_server.cluster.followers import Followers
from enclave_server.cluster.handshake import Follower
from enclave_server.cluster.part import Part, Terms
from enclave_server.keys.ring import KeyRing
from enclave_server.keys.shared_ring import (
    advance_shared,
    retire_older,
    share,
    succeed,
    unlist_newest,
)
from protocol.cluster_state import State
from protocol.encapsulation import GatewayKey

GATHER_SECONDS = 1.0
"""For others to come as well, before keys are made for those who came."""

PACE_SECONDS = 2.0
"""Between two generations of keys that are made because of who came or went."""


class Leader:
    """From when an enclave begins to lead until it follows another; clocks are monotonic."""

    def __init__(self, part: Part, terms: Terms, turn_at: float) -> None:
        """Make no keys for who came or went before `turn_at`."""
        self._part = part
        self._terms = terms
        self._followers = Followers()
        self._serial = 0
        self._pushed: object = None
        self._newest_told: tuple[GatewayKey, int] | None = None  # with which state
        self._ready_at: float | None = None
        self._turn_at = turn_at
        self._proposed: list[bytes] = []

    def __len__(self) -> int:
        return len(self._followers)

    @property
    def sockets(self) -> list[socket.socket]:
        """What to wait for."""
        return [link.stream.socket for link in self._followers.links]

    def admit(self, follower: Follower, now: float) -> None:
        """Take a new follower, and give it everything."""
        self._followers.add(follower, self._state(), now)

    def step(self, unix: float, now: float, *, settled: bool) -> None:
        """Do what is due; `settled` says that our workers serve with what they were last told."""
        self._proposed += self._followers.receive(now)
        self._gather(now)
        self._turn(unix, now)
        self._prepare(unix, now, settled=settled)
        self._tell(now)

    def succession(self, ring: KeyRing, unix: float) -> KeyRing:
        """Return the ring as it is at `unix`, with a new generation if one is due."""
        company = self._part.company
        later = advance_shared(ring, self._terms.schedule, unix, company.member, company.members)
        if later.generations[0] is not ring.generations[0]:
            self._count_turn()
        return later

    def may_announce(self, now: float) -> bool:
        """Whether clients may be told of the newest generation, as far as followers go."""
        return self._ready_at is not None and now >= self._ready_at + self._terms.route

    def take_proposals(self, own: Sequence[bytes]) -> list[bytes]:
        """Return secrets to accept one of: our workers' first, then those of followers."""
        found, self._proposed = [*own, *self._proposed], []
        return found

    def close(self) -> None:
        """Let all followers go."""
        self._followers.close()

    def forget(self) -> None:
        """Drop every key and secret of one that was closed: this process is a worker now."""
        self._newest_told = None
        self._pushed = None
        self._proposed.clear()

    def _gather(self, now: float) -> None:
        """Note who is there now."""
        company = self._part.company
        members = self._followers.serving | {company.member}
        if members == company.members:
            return
        if members - company.members:
            self._turn_at = max(self._turn_at, now + GATHER_SECONDS)
        self._part.company = replace(company, members=members)
        self._part.report()

    def _turn(self, unix: float, now: float) -> None:
        """Make keys for exactly those who are there, if the newest ones are for others."""
        keeper, company = self._part.keeper, self._part.company
        newest = keeper.ring.generations[0].holding
        if newest is not None and newest.table.owners == company.members:
            return
        if now < self._turn_at:
            return
        self._turn_at = now + PACE_SECONDS
        schedule, who = self._terms.schedule, (company.member, company.members)
        ring = keeper.ring if keeper.announced else unlist_newest(keeper.ring)
        keeper.replace(succeed(ring, schedule, unix, *who, early=True))
        self._count_turn()

    def _count_turn(self) -> None:
        company = self._part.company
        self._part.company = replace(company, turns=company.turns + 1)
        self._ready_at = None
        self._part.report()

    def _prepare(self, unix: float, now: float, *, settled: bool) -> None:
        """See whether all have the newest keys; when their time has come, retire those before."""
        keeper = self._part.keeper
        newest = keeper.ring.generations[0]
        serial = self._told_newest_with()
        if not settled or serial is None or not self._followers.have(serial):
            self._ready_at = self._ready_at if keeper.announced else None
        elif self._ready_at is None:
            self._ready_at = now
        if newest.early and not keeper.announced and self.may_announce(now):
            keeper.replace(retire_older(keeper.ring, self._terms.schedule, unix))

    def _told_newest_with(self) -> int | None:
        """Return the serial of the first state with the newest keys; None if there is none yet."""
        newest, told = self._part.keeper.ring.generations[0].first, self._newest_told
        return told[1] if told is not None and told[0] is newest else None

    def _tell(self, now: float) -> None:
        """Send everybody what is new."""
        keeper, company = self._part.keeper, self._part.company
        secrets = self._part.secrets
        news = (keeper.ring, keeper.announced, company.members, company.turns, secrets)
        if news != self._pushed:
            self._pushed = news
            self._serial += 1
            if self._told_newest_with() is None:
                self._newest_told = keeper.ring.generations[0].first, self._serial
            self._followers.push(self._state(), now)
        self._followers.beat(self._serial, now)

    def _state(self) -> State:
        keeper, company = self._part.keeper, self._part.company
        rsa, ed25519 = self._part.signing
        # While the security module fails nothing is announced, and all other keys may end.
        is_alone = len(keeper.ring.generations) == 1
        return State(
            max(1, self._serial),
            company.turns,
            company.member,
            company.members,
            keeper.announced or is_alone,
            share(keeper.ring),
            rsa,
            ed25519,
            self._part.secrets,
        )
