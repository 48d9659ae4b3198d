"""A member of a cluster in time: it follows a leader, looks for one, or leads.

    follows    takes states, serves with them, says so, hears a beat every second
    seeks      its leader is gone: it serves on, asks every peer, and leads if nobody else does soon
    leads      admits followers, tells all of them every change, makes the next keys

The first is `enclave_server.cluster.following`, the last `enclave_server.cluster.leading`; what
stands here is how one becomes the other. The lowest identifier of those that a lost leader left
behind leads first. Two leaders of one family (a network that was cut) find each other by asking
their peers now and then: the higher one follows. No step of this decides who may open a request:
see `enclave_server.keys.shared_ring`.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from enclave_server.cluster.doors import Doors
from enclave_server.cluster.following import Uplink
from enclave_server.cluster.handshake import Joined
from enclave_server.cluster.identity import Identity, family_of, new_member
from enclave_server.cluster.leading import Leader
from enclave_server.cluster.part import Part, Terms
from enclave_server.cluster.seeking import SEARCH_SECONDS, Search
from enclave_server.cluster.signing import encode_signing_keys
from enclave_server.cluster.statement import Company, make_standing
from enclave_server.cluster.stream import PeerGone
from enclave_server.gateway.standing import Standing
from enclave_server.keys.keeper import KeyKeeper, Succession
from enclave_server.keys.ring import KeyRing
from enclave_server.keys.shared_ring import first_shared_ring, without_ended
from enclave_server.log import Log
from protocol.cluster_join import Leadership
from protocol.errors import ProtocolError
from protocol.signature import SigningKeys
from protocol.slots import MAX_OWNERS

PATIENCE_SECONDS = 1.5
"""Without a leader: so long for each with a lower identifier, and once more, before one leads."""

REGATHER_SECONDS = 2.5
"""For those that a lost leader left behind to find the next one, before it makes keys for them."""

PROBE_SECONDS = 10.0
"""Between a leader's questions whether somebody else leads."""

MakeKeeper = Callable[[KeyRing, Succession, bool], KeyKeeper]
"""Takes a ring, what becomes of it, and whether its newest generation is announced."""


class Member:
    """This enclave's part in its cluster; `step` moves it on, and nothing else does."""

    def __init__(
        self,
        identity: Identity,
        terms: Terms,
        doors: Doors,
        signing_keys: SigningKeys,
        make_keeper: MakeKeeper,
        log: Log,
        *,
        joined: Joined | None,
        unix: float,
        now: float,
    ) -> None:
        """Begin as what `joined` says, or as the first of a cluster; raises ProtocolError."""
        self._identity = identity
        self._terms = terms
        self._doors = doors
        self._family = family_of(signing_keys)
        schedule = terms.schedule
        longest = schedule.announce + schedule.lifetime + schedule.grace
        self._part = Part(encode_signing_keys(signing_keys), longest, log)
        self._uplink: Uplink | None = None
        self._leader: Leader | None = None
        self._search: Search | None = None
        self._lost_at = now
        self._others: set[bytes] = set()
        if joined is None:
            member = new_member()
            self._part.company = Company(member, member, frozenset({member}), 1)
            self._leader = Leader(self._part, terms, now)
            ring = first_shared_ring(terms.schedule, unix, member)
        else:
            ring = self._part.take(joined.state, KeyRing(), joined.member, unix)
            self._uplink = Uplink(joined, now)
        self.keeper = make_keeper(ring, self._succession, self._part.announced)
        self._part.keeper = self.keeper
        self._standing_of = self.keeper.ring, self.company
        self._standing = make_standing(*self._standing_of)

    @property
    def leads(self) -> bool:
        """Whether it is this enclave that admits others and makes keys."""
        return self._part.leads

    @property
    def standing(self) -> Standing:
        """What its workers are to go by now."""
        stands = self.keeper.ring, self.company
        if stands != self._standing_of:
            self._standing_of = stands
            self._standing = make_standing(*stands)
        return self._standing

    @property
    def company(self) -> Company:
        """Who is there."""
        return self._part.company

    @property
    def sockets(self) -> list[socket.socket]:
        """What to wait for."""
        found = self._doors.sockets
        if self._leader is not None:
            found += self._leader.sockets
        if self._uplink is not None:
            found.append(self._uplink.socket)
        return found + ([] if self._search is None else self._search.sockets)

    def step(self, unix: float, now: float, *, settled: bool) -> bool:
        """Do what is due; whether the standing has changed.

        `settled` says that all workers serve with what they were last told.
        """
        self._admit(unix, now)
        if self._uplink is not None:
            self._follow(self._uplink, unix, now, settled=settled)
        self._seek(unix, now)
        if self._leader is not None:
            self._leader.step(unix, now, settled=settled)
        before = self._standing
        return self.standing != before

    def may_announce(self, now: float) -> bool:
        """Whether clients may be told of the newest generation, as far as other enclaves go."""
        return self._part.announced if self._leader is None else self._leader.may_announce(now)

    def pass_on(self, proposals: Sequence[bytes], accepted: bytes) -> list[bytes]:
        """Return the secrets that this enclave may accept, of its workers' and of others.

        The leader accepts for all, and everybody takes what its state says. `accepted` is what this
        enclave has accepted before, empty if nothing.
        """
        part = self._part
        if self._leader is not None:
            part.secrets = accepted
            return self._leader.take_proposals(proposals)
        # What it has from before it followed this leader is worth as much as a worker's proposal.
        offers = [accepted] if accepted and not part.secrets else list(proposals)
        if self._uplink is not None:
            for secrets in offers:
                self._uplink.propose(secrets)
        return [part.secrets] if part.secrets else []

    def leave(self) -> None:
        """End every connection, so that the others know at once."""
        self._end_uplink()
        if self._leader is not None:
            self._leader.close()
        self._doors.close()
        if self._search is not None:
            self._search.close()

    def forget(self) -> None:
        """Drop every key, secret and connection: this process is a worker now."""
        self.leave()
        # It holds private keys.
        self._standing_of = KeyRing(), self.company
        if self._leader is not None:
            self._leader.forget()
        self._part.forget()

    # Who comes

    def _admit(self, unix: float, now: float) -> None:
        leader = self._leader
        leads = Leadership(self.company.member, self._family) if self._has_room(leader) else None
        for follower in self._doors.step(now, unix, leads, self._identity.before_all):
            # Several may come at once, where there is room for one.
            if leader is None or not self._has_room(leader):
                follower.link.close()
                continue
            leader.admit(follower, now)

    def _has_room(self, leader: Leader | None) -> bool:
        return leader is not None and len(leader) + 1 < MAX_OWNERS

    def _succession(self, ring: KeyRing, unix: float) -> KeyRing:
        if self._leader is None:
            return without_ended(ring, unix)
        return self._leader.succession(ring, unix)

    # Who is followed

    def _follow(self, uplink: Uplink, unix: float, now: float, *, settled: bool) -> None:
        try:
            uplink.step(self._part, unix, now, settled=settled)
        except (PeerGone, ProtocolError):
            self._lose(now)

    def _lose(self, now: float) -> None:
        self._end_uplink()
        company = self.company
        left = company.members - {company.leader}
        self._part.company = replace(company, leader=None, members=frozenset(left))
        self._lost_at = now
        self._look()
        self._part.log.event("leader_lost", members=len(left))

    def _seek(self, unix: float, now: float) -> None:
        if self._uplink is not None:
            return
        if self._search is None:
            self._look()
        joined = None if self._search is None else self._search.step(now, unix)
        if joined is not None:
            self._settle_down(joined, unix, now)
        elif self._leader is None and now >= self._lost_at + self._patience():
            self._begin_to_lead(now)

    def _settle_down(self, joined: Joined, unix: float, now: float) -> None:
        self._search = None
        try:
            ring = self._part.take(joined.state, self.keeper.ring, joined.member, unix)
        except ProtocolError:
            joined.link.close()
            return
        self._uplink = Uplink(joined, now)
        if self._leader is not None:
            self._leader.close()
            self._leader = None
        self.keeper.replace(ring)
        self._part.report()

    def _begin_to_lead(self, now: float) -> None:
        member = self.company.member
        self._part.company = replace(self.company, leader=member, members=frozenset({member}))
        self._leader = Leader(self._part, self._terms, now + REGATHER_SECONDS)
        self._look()
        self._part.report()

    def _patience(self) -> float:
        rank = sorted(self.company.members).index(self.company.member)
        return PATIENCE_SECONDS * (rank + 1)

    def _look(self) -> None:
        """Begin to look: any leader will do for who has none, for a leader one above it."""
        if self._search is not None:
            self._search.close()
        wanted, pause = (
            (self._is_of_family, SEARCH_SECONDS)
            if self._leader is None
            else (self._is_above, PROBE_SECONDS)
        )
        self._search = Search(self._terms.peers, self._identity, wanted, pause)

    def _is_of_family(self, leadership: Leadership) -> bool:
        return leadership.family == self._family

    def _is_above(self, leadership: Leadership) -> bool:
        if leadership.family != self._family:
            if leadership.family not in self._others:
                self._others.add(leadership.family)
                self._part.log.event("other_cluster")
            return False
        return leadership.member < self.company.member

    def _end_uplink(self) -> None:
        if self._uplink is not None:
            self._uplink.close()
            self._uplink = None
