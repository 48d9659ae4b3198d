"""A member of a cluster in time: it follows a leader, looks for one, or leads.

    follows    takes states, serves with them, says so, hears a beat every second
    seeks      its leader is gone: it serves on, asks every peer, and leads if nobody else does soon
    leads      admits followers, tells all of them every change, makes the next keys

The lowest identifier of those that a lost leader left behind leads first. Two leaders of one family
(a network that was cut) find each other by asking their peers now and then: the higher one follows.
No step of this decides who may open a request: see `enclave_server.keys.shared_ring`.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from enclave_server.addresses import Address
from enclave_server.cluster.doors import Doors
from enclave_server.cluster.followers import ACK_SECONDS, Followers
from enclave_server.cluster.handshake import Joined
from enclave_server.cluster.identity import Identity, family_of, new_member
from enclave_server.cluster.seeking import SEARCH_SECONDS, Search
from enclave_server.cluster.signing import encode_signing_keys
from enclave_server.cluster.statement import Company, make_standing, unowned_slots
from enclave_server.cluster.stream import PeerGone
from enclave_server.gateway.standing import Standing
from enclave_server.keys.keeper import KeyKeeper, Succession
from enclave_server.keys.ring import KeyRing, Schedule
from enclave_server.keys.shared_ring import (
    adopt,
    advance_shared,
    first_shared_ring,
    retire_older,
    share,
    succeed,
    unlist_newest,
    without_ended,
)
from enclave_server.log import Log
from protocol.cluster_join import NONCE_BYTES, Leadership
from protocol.cluster_state import Ack, Beat, Propose, State
from protocol.encapsulation import GatewayKey
from protocol.errors import MalformedMessage, ProtocolError
from protocol.signature import SigningKeys
from protocol.slots import MAX_OWNERS

PATIENCE_SECONDS = 1.5
"""Without a leader: so long for each with a lower identifier, and once more, before one leads."""

GATHER_SECONDS = 1.0
"""For others to come as well, before keys are made for those who came."""

REGATHER_SECONDS = 2.5
"""The same for those that a lost leader left behind: they look for the next one meanwhile."""

PACE_SECONDS = 2.0
"""Between two generations of keys that are made because of who came or went."""

PROBE_SECONDS = 10.0
"""Between a leader's questions whether somebody else leads."""

MakeKeeper = Callable[[KeyRing, Succession, bool], KeyKeeper]
"""Takes a ring, what becomes of it, and whether its newest generation is announced."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of a cluster; times in seconds."""

    peers: Sequence[Address]
    schedule: Schedule
    route: float


@dataclass(slots=True)
class _Uplink:
    """A follower's leader; times are of a monotonic clock."""

    joined: Joined
    heard_at: float
    acknowledged: int = 0
    owes: bool = True


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
        self._signing = encode_signing_keys(signing_keys)
        self._family = family_of(signing_keys)
        self._log = log
        self._uplink: _Uplink | None = None
        self._followers = Followers()
        self._search: Search | None = None
        self._lost_at = now
        self._serial = 0
        self._pushed: object = None
        self._newest_told: tuple[GatewayKey, int] | None = None  # with which state
        self._ready_at: float | None = None
        self._turn_at = now
        self._secrets = b""
        self._proposed: list[bytes] = []
        self._is_announced = True
        self._others: set[bytes] = set()
        if joined is None:
            member = new_member()
            self._company = Company(member, member, frozenset({member}), 1)
            ring = first_shared_ring(terms.schedule, unix, member)
        else:
            ring = self._place(joined, KeyRing(), now)
        self.keeper = make_keeper(ring, self._succession, self._is_announced)
        self._standing_of = self.keeper.ring, self._company
        self._standing = make_standing(*self._standing_of)

    @property
    def leads(self) -> bool:
        """Whether it is this enclave that admits others and makes keys."""
        return self._company.leader == self._company.member

    @property
    def standing(self) -> Standing:
        """What its workers are to go by now."""
        stands = self.keeper.ring, self._company
        if stands != self._standing_of:
            self._standing_of = stands
            self._standing = make_standing(*stands)
        return self._standing

    @property
    def company(self) -> Company:
        """Who is there."""
        return self._company

    @property
    def sockets(self) -> list[socket.socket]:
        """What to wait for."""
        found = self._doors.sockets + [link.stream.socket for link in self._followers.links]
        if self._uplink is not None:
            found.append(self._uplink.joined.link.stream.socket)
        return found + ([] if self._search is None else self._search.sockets)

    def step(self, unix: float, now: float, *, settled: bool) -> bool:
        """Do what is due; whether the standing has changed.

        `settled` says that all workers serve with what they were last told.
        """
        self._admit(unix, now)
        if self._uplink is not None:
            self._follow(self._uplink, now, settled=settled)
        self._seek(unix, now)
        if self.leads:
            self._lead(unix, now, settled=settled)
        before = self._standing
        return self.standing != before

    def may_announce(self, now: float) -> bool:
        """Whether clients may be told of the newest generation, as far as other enclaves go."""
        if not self.leads:
            return self._is_announced
        return self._ready_at is not None and now >= self._ready_at + self._terms.route

    def pass_on(self, proposals: Sequence[bytes], accepted: bytes) -> list[bytes]:
        """Return the secrets that this enclave may accept, of its workers' and of others.

        The leader accepts for all, and everybody takes what its state says. `accepted` is what this
        enclave has accepted before, empty if nothing.
        """
        if self.leads:
            self._secrets = accepted
            found, self._proposed = [*proposals, *self._proposed], []
            return found
        # What it has from before it followed this leader is worth as much as a worker's proposal.
        offers = [accepted] if accepted and not self._secrets else list(proposals)
        for secrets in offers:
            self._propose(secrets)
        return [self._secrets] if self._secrets else []

    def leave(self) -> None:
        """End every connection, so that the others know at once."""
        self._end_uplink()
        self._followers.close()
        self._doors.close()
        if self._search is not None:
            self._search.close()

    def forget(self) -> None:
        """Drop every key, secret and connection: this process is a worker now."""
        self.leave()
        # It holds private keys.
        self._standing_of = KeyRing(), self._company
        self._newest_told = None
        self._signing = (b"", b"")
        self._secrets = b""
        self._pushed = None
        self._proposed.clear()

    # Leading

    def _admit(self, unix: float, now: float) -> None:
        company = self._company
        is_full = len(self._followers) + 1 >= MAX_OWNERS
        leads = Leadership(company.member, self._family) if self.leads and not is_full else None
        waits = company.member.ljust(NONCE_BYTES, b"\0")
        for follower in self._doors.step(now, unix, leads, waits):
            if not self.leads:
                follower.link.close()
                continue
            self._followers.add(follower, self._state(), now)

    def _lead(self, unix: float, now: float, *, settled: bool) -> None:
        self._proposed += self._followers.receive(now)
        self._gather(now)
        self._turn(unix, now)
        self._prepare(unix, now, settled=settled)
        self._tell(now)

    def _gather(self, now: float) -> None:
        """Note who is there now."""
        members = self._followers.serving | {self._company.member}
        if members == self._company.members:
            return
        if members - self._company.members:
            self._turn_at = max(self._turn_at, now + GATHER_SECONDS)
        self._company = replace(self._company, members=members)
        self._report()

    def _turn(self, unix: float, now: float) -> None:
        """Make keys for exactly those who are there, if the newest ones are for others."""
        newest = self.keeper.ring.generations[0].holding
        company = self._company
        if newest is not None and newest.table.owners == company.members:
            return
        if now < self._turn_at:
            return
        self._turn_at = now + PACE_SECONDS
        schedule, who = self._terms.schedule, (company.member, company.members)
        ring = self.keeper.ring if self.keeper.announced else unlist_newest(self.keeper.ring)
        self.keeper.replace(succeed(ring, schedule, unix, *who, early=True))
        self._count_turn()

    def _succession(self, ring: KeyRing, unix: float) -> KeyRing:
        if not self.leads:
            return without_ended(ring, unix)
        company = self._company
        later = advance_shared(ring, self._terms.schedule, unix, company.member, company.members)
        if later.generations[0] is not ring.generations[0]:
            self._count_turn()
        return later

    def _count_turn(self) -> None:
        self._company = replace(self._company, turns=self._company.turns + 1)
        self._ready_at = None
        self._report()

    def _prepare(self, unix: float, now: float, *, settled: bool) -> None:
        """See whether all have the newest keys; when their time has come, retire those before."""
        newest = self.keeper.ring.generations[0]
        serial = self._told_newest_with()
        if not settled or serial is None or not self._followers.have(serial):
            self._ready_at = self._ready_at if self.keeper.announced else None
        elif self._ready_at is None:
            self._ready_at = now
        if newest.early and not self.keeper.announced and self.may_announce(now):
            self.keeper.replace(retire_older(self.keeper.ring, self._terms.schedule, unix))

    def _told_newest_with(self) -> int | None:
        """Return the serial of the first state with the newest keys; None if there is none yet."""
        newest, told = self.keeper.ring.generations[0].first, self._newest_told
        return told[1] if told is not None and told[0] is newest else None

    def _tell(self, now: float) -> None:
        """Send everybody what is new."""
        ring, company = self.keeper.ring, self._company
        news = (ring, self.keeper.announced, company.members, company.turns, self._secrets)
        if news != self._pushed:
            self._pushed = news
            self._serial += 1
            if self._told_newest_with() is None:
                self._newest_told = ring.generations[0].first, self._serial
            self._followers.push(self._state(), now)
        self._followers.beat(self._serial, now)

    def _state(self) -> State:
        company = self._company
        rsa, ed25519 = self._signing
        return State(
            max(1, self._serial),
            company.turns,
            company.member,
            company.members,
            self.keeper.announced,
            share(self.keeper.ring),
            rsa,
            ed25519,
            self._secrets,
        )

    # Following

    def _place(self, joined: Joined, ring: KeyRing, now: float) -> KeyRing:
        """Take a place in a cluster; return the ring that is held there."""
        adopted = self._take(joined.state, ring, joined.member)
        self._uplink = _Uplink(joined, now)
        return adopted

    def _take(self, state: State, ring: KeyRing, member: bytes) -> KeyRing:
        """Note what a state says, and return the ring that it makes of `ring`."""
        if (state.rsa, state.ed25519) != self._signing:
            raise MalformedMessage("the keys that sign answers are others")
        adopted = adopt(ring, state.generations, member)
        self._company = Company(member, state.leader, state.members | {member}, state.turns)
        self._is_announced = state.announced
        self._secrets = state.secrets
        return adopted

    def _follow(self, uplink: _Uplink, now: float, *, settled: bool) -> None:
        try:
            is_new = self._hear(uplink, now)
            if now - uplink.heard_at > ACK_SECONDS:
                raise PeerGone
            serial = uplink.joined.state.serial
            # What was taken just now has not reached the workers yet.
            if uplink.owes and settled and not is_new:
                uplink.acknowledged, uplink.owes = serial, False
                uplink.joined.link.send(Ack(serial))
        except (PeerGone, ProtocolError):
            self._lose(now)

    def _hear(self, uplink: _Uplink, now: float) -> bool:
        """Take what the leader has said; whether there was a state."""
        is_new = False
        while (message := uplink.joined.link.receive()) is not None:
            uplink.heard_at, uplink.owes = now, True
            match message:
                case State():
                    ring = self._take(message, self.keeper.ring, uplink.joined.member)
                    self.keeper.replace(ring)
                    uplink.joined = replace(uplink.joined, state=message)
                    is_new = True
                case Beat():
                    pass  # it has been heard of
                case _:
                    raise PeerGone
        return is_new

    def _propose(self, secrets: bytes) -> None:
        if self._uplink is None:
            return  # the worker says that it could not be passed on
        try:
            self._uplink.joined.link.send(Propose(secrets))
        except (PeerGone, ValueError):
            return

    # Seeking

    def _lose(self, now: float) -> None:
        self._end_uplink()
        company = self._company
        left = company.members - {company.leader}
        self._company = replace(company, leader=None, members=frozenset(left))
        self._lost_at = now
        self._look()
        self._log.event("leader_lost", members=len(left))

    def _seek(self, unix: float, now: float) -> None:
        if self._uplink is not None:
            return
        if self._search is None:
            self._look()
        joined = None if self._search is None else self._search.step(now, unix)
        if joined is not None:
            self._settle_down(joined, now)
        elif not self.leads and now >= self._lost_at + self._patience():
            self._begin_to_lead(now)

    def _settle_down(self, joined: Joined, now: float) -> None:
        try:
            ring = self._place(joined, self.keeper.ring, now)
        except ProtocolError:
            joined.link.close()
            self._search = None
            return
        self._followers.close()
        self._search = None
        self.keeper.replace(ring)
        self._report()

    def _begin_to_lead(self, now: float) -> None:
        member = self._company.member
        self._company = replace(self._company, leader=member, members=frozenset({member}))
        self._followers = Followers()
        self._pushed = None
        self._newest_told = None
        self._ready_at = None
        self._turn_at = now + REGATHER_SECONDS
        self._look()
        self._report()

    def _patience(self) -> float:
        rank = sorted(self._company.members).index(self._company.member)
        return PATIENCE_SECONDS * (rank + 1)

    def _look(self) -> None:
        """Begin to look: any leader will do for who has none, for a leader one above it."""
        if self._search is not None:
            self._search.close()
        wanted, pause = (
            (self._is_above, PROBE_SECONDS) if self.leads else (self._is_of_family, SEARCH_SECONDS)
        )
        self._search = Search(self._terms.peers, self._identity, wanted, pause)

    def _is_of_family(self, leadership: Leadership) -> bool:
        return leadership.family == self._family

    def _is_above(self, leadership: Leadership) -> bool:
        if leadership.family != self._family:
            if leadership.family not in self._others:
                self._others.add(leadership.family)
                self._log.event("other_cluster")
            return False
        return leadership.member < self._company.member

    def _end_uplink(self) -> None:
        if self._uplink is not None:
            self._uplink.joined.link.close()
            self._uplink = None

    # Telling

    def _report(self) -> None:
        company = self._company
        self._log.event(
            "cluster",
            leads=self.leads,
            members=len(company.members),
            turns=company.turns,
            unowned=unowned_slots(self.keeper.ring, company.members),
        )
