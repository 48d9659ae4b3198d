"""A member's part in its cluster: what it is and what it holds, whoever leads."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from enclave_server.addresses import Address
from enclave_server.cluster.statement import Company, unowned_slots
from enclave_server.keys.keeper import KeyKeeper
from enclave_server.keys.ring import KeyRing, Schedule
from enclave_server.keys.shared_ring import adopt
from enclave_server.log import Log
from enclave_server.security_module.clock import MAX_SKEW_SECONDS
from protocol.cluster_state import State
from protocol.errors import MalformedMessage


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of a cluster; times in seconds."""

    peers: Sequence[Address]
    schedule: Schedule
    route: float


@dataclass(slots=True, repr=False)
class Part:
    """Changed by whoever has the turn: the leader's side of a member, or the follower's.

    `longest` is for how many seconds a key may be held, from when it is made until it ends.
    `signing` are the keys that sign answers, as they travel; `secrets` what an administrator handed
    over, empty if nothing; `announced` what the last leader said of the newest keys.
    """

    signing: tuple[bytes, bytes]
    longest: float
    log: Log
    company: Company = field(init=False)
    keeper: KeyKeeper = field(init=False)
    secrets: bytes = b""
    announced: bool = True

    @property
    def leads(self) -> bool:
        """Whether it is this enclave that admits others and makes keys."""
        return self.company.leader == self.company.member

    def take(self, state: State, ring: KeyRing, member: bytes, unix: float) -> KeyRing:
        """Note what a leader's state says to `member`, and return the ring that it makes of `ring`.

        MalformedMessage for the state of another family, one that changes a table, or one of a
        leader whose clock is ahead of `unix` by more than any is; nothing is noted then.
        """
        if (state.rsa, state.ed25519) != self.signing:
            raise MalformedMessage("the keys that sign answers are others")
        # Equal configurations make equal keys: one that ends later was made by another clock.
        latest = unix + self.longest + MAX_SKEW_SECONDS
        if any(each.ends > latest * 1000 for each in state.generations):
            raise MalformedMessage("a key ends later than any that is made now")
        adopted = adopt(ring, state.generations, member)
        self.company = Company(member, state.leader, state.members | {member}, state.turns)
        self.announced = state.announced
        self.secrets = state.secrets
        return adopted

    def report(self) -> None:
        """Log who is there."""
        company = self.company
        self.log.event(
            "cluster",
            leads=self.leads,
            members=len(company.members),
            turns=company.turns,
            unowned=unowned_slots(self.keeper.ring, company.members),
        )

    def forget(self) -> None:
        """Drop keys and secrets: this process is a worker now."""
        self.signing = (b"", b"")
        self.secrets = b""
