"""Enclaves of a cluster in one process: real members and sockets, a clock and faults of the test's.

A node's workers are stood in for by what they were last told, which they go on serving with while
the node's supervisor is paused. What a worker does with a request is here in a few lines: is the
key there, is the slot its own, was the request here before. Sockets are of the Unix family.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from enclave_server.addresses import Address, UnixAddress, listen_socket
from enclave_server.cluster import seeking
from enclave_server.cluster.beginning import Beginning, NobodyLeads
from enclave_server.cluster.doors import Doors
from enclave_server.cluster.identity import make_identity
from enclave_server.cluster.member import Member
from enclave_server.cluster.part import Terms
from enclave_server.cluster.signing import decode_signing_keys
from enclave_server.cluster.stream import Dial, PeerGone
from enclave_server.gateway.standing import Ownership, Standing
from enclave_server.keys.attester import Attester
from enclave_server.keys.keeper import KeyKeeper, Succession
from enclave_server.keys.ring import KeyRing, KeySet, Schedule
from enclave_server.log import Log
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.cluster_state import State
from protocol.key_config import KeyConfig, decode_key_configs
from protocol.signature import SigningKeys
from protocol.slots import SLOTS
from tests.support.cluster_host import Carrier
from tests.support.enclaves import REGISTERS, common_root, signing_keys

TICK_SECONDS = 0.25
SCHEDULE = Schedule(lifetime=3600, announce=300, grace=600)
ROUTE_SECONDS = 2.0
JOIN_SECONDS = 20.0
WINDOW_SECONDS = 300
SOON = 12.0
"""Longer than any turn takes: gathering, pace, acknowledgements, the time for routes."""


@dataclass(frozen=True)
class Sealed:
    """A request: to which key, in which slot, when, and a number in the place of its `enc`."""

    config: KeyConfig
    slot: int
    date: float
    number: int


@dataclass
class Node:
    """One enclave, from its start to its end."""

    place: int
    member: Member
    keeper: KeyKeeper
    log: StringIO
    keys: KeySet
    standing: Standing
    settled: bool = True
    paused: bool = False
    secrets: bytes = b""
    proposals: list[bytes] = field(default_factory=list)
    remembered: dict[int, float] = field(default_factory=dict)

    def step(self, unix: float, now: float) -> None:
        """Do what a supervisor does in a turn; its workers serve at once with what is new."""
        if not self.secrets:
            found = self.member.pass_on(self.proposals, self.secrets)
            self.proposals = []
            self.secrets = found[0] if found else b""
        self.member.pass_on([], self.secrets)
        has_moved = self.member.step(unix, now, settled=self.settled)
        settled = self.settled and self.member.may_announce(now)
        if self.keeper.step(unix, settled=settled) or has_moved:
            self.publish()

    def publish(self) -> None:
        """Let the workers have what is new."""
        self.keys, self.standing = self.keeper.keys, self.member.standing

    def open(self, request: Sealed, unix: float) -> int:
        """Return the status that a worker gives a request, 200 if it opens it."""
        key = next((key for key in self.keys.opening(unix) if key.config == request.config), None)
        slots = self.standing.ownership.get(request.config.key_id)
        match Ownership.OWN if slots is None else Ownership(slots[request.slot]):
            case Ownership.OTHERS:
                return 421
            case Ownership.NOBODYS:
                return 422
        if key is None:
            return 422
        if abs(unix - request.date) > WINDOW_SECONDS:
            return 400
        self.remembered = {each: until for each, until in self.remembered.items() if until >= unix}
        if request.number in self.remembered:
            return 409
        end = self.keys.end_of(request.config.key_id)
        self.remembered[request.number] = min(request.date + WINDOW_SECONDS, end)
        return 200

    def listed(self) -> Sequence[KeyConfig]:
        """Return the keys that clients are told of."""
        return decode_key_configs(self.keys.ohttp_keys)

    def told(self) -> dict[str, Any]:
        """Return what a front is told."""
        statement: dict[str, Any] = json.loads(self.standing.statement)
        return statement


class World:
    """Places for nodes, the network between them, and the time."""

    def __init__(
        self,
        folder: Path,
        places: int = 3,
        route: float = ROUTE_SECONDS,
        schedule: Schedule = SCHEDULE,
    ) -> None:
        self._folder = folder
        self._route = route
        self._schedule = schedule
        self.addresses = [UnixAddress(str(folder / f"{at}")) for at in range(places)]
        self.nodes: dict[int, Node] = {}
        self.cut: set[frozenset[int]] = set()
        # Where somebody comes who dials somebody: the host's to say, and by which carrier.
        self.ways: dict[tuple[int, int], UnixAddress] = {}
        self.carriers: list[Carrier] = []
        self._base = time.time()
        self.now = 0.0
        self._families = 0
        self._dialing = -1

    @property
    def unix(self) -> float:
        """The time in Unix seconds."""
        return self._base + self.now

    def start(self, place: int) -> Node | None:
        """Boot an enclave; None if it finds others and nobody who leads."""
        module = SimulatedSecurityModule(root=common_root(), now=lambda: self.unix)
        identity = make_identity(module, REGISTERS)
        stream = StringIO()
        log = Log(stream)
        doors = Doors(listen_socket(self.addresses[place]), identity, log, self.now)
        peers = [each for at, each in enumerate(self.addresses) if at != place]
        beginning = Beginning(identity, doors, peers, JOIN_SECONDS)

        def waiting(sockets: object, seconds: float) -> bool:
            self.tick(0.1)
            self._dialing = place
            return True

        self._dialing = place
        try:
            with self._network():
                joined = beginning.find(waiting, lambda: self.now, lambda: self.unix)
        except NobodyLeads:
            doors.close()
            return None
        signing = self._new_family() if joined is None else _signing_of(joined.state)
        terms = Terms(peers, self._schedule, self._route)

        def make_keeper(ring: KeyRing, succession: Succession, announced: bool) -> KeyKeeper:
            return KeyKeeper(
                self._schedule,
                Attester(module, signing),
                signing,
                refresh=1800,
                now=self.unix,
                ring=ring,
                succession=succession,
                announced=announced,
            )

        member = Member(
            identity,
            terms,
            doors,
            signing,
            make_keeper,
            log,
            joined=joined,
            unix=self.unix,
            now=self.now,
        )
        keys = member.keeper.keys
        node = Node(place, member, member.keeper, stream, keys, member.standing)
        self.nodes[place] = node
        return node

    def kill(self, place: int) -> None:
        """End an enclave at once; what it remembered is gone with it."""
        self.nodes.pop(place).member.leave()

    def close(self) -> None:
        """End all."""
        for place in list(self.nodes):
            self.kill(place)
        for carrier in self.carriers:
            carrier.close()

    def carry(self, dialing: int, place: int) -> Carrier:
        """Have a carrier between who dials and who is there."""
        path = self._folder / f"carrier-{len(self.carriers)}"
        carrier = Carrier(path, self.addresses[place])
        self.carriers.append(carrier)
        self.ways[dialing, place] = carrier.address
        return carrier

    def tick(self, seconds: float = TICK_SECONDS) -> None:
        """Let time pass, and every node that is not paused have its turn."""
        self.now += seconds
        for carrier in self.carriers:
            carrier.turn()
        with self._network():
            for place, node in list(self.nodes.items()):
                if not node.paused:
                    self._dialing = place
                    node.step(self.unix, self.now)

    def run(self, seconds: float) -> None:
        """Let time pass in ticks."""
        for _ in range(round(seconds / TICK_SECONDS)):
            self.tick()

    def separate(self, one: int, other: int) -> None:
        """Cut the network between two places, and what is connected there."""
        self.cut.add(frozenset({one, other}))
        for follower in self.nodes.values():
            uplink = follower.member._uplink
            if uplink is None:
                continue
            leader = self.place_of(uplink.joined.state.leader)
            if leader is not None and {follower.place, leader} == {one, other}:
                uplink.joined.link.close()
                follower.member._lose(self.now)

    def join(self, one: int, other: int) -> None:
        """Mend the network between two places."""
        self.cut.discard(frozenset({one, other}))

    def place_of(self, member: bytes) -> int | None:
        """Return where the member of that identifier is now."""
        for place, node in self.nodes.items():
            if node.member.company.member == member:
                return place
        return None

    def started(self, count: int = 3) -> list[Node]:
        """Boot so many enclaves, and return them when they are one cluster."""
        nodes = [self.start(place) for place in range(count)]
        self.run(SOON)
        assert all(nodes)
        return [node for node in nodes if node is not None]

    def owners(self, key_id: int) -> list[int]:
        """Return for each slot how many nodes say that it is theirs."""
        counts = [0] * SLOTS
        for node in self.nodes.values():
            for first, last in node.told()["slots"].get(str(key_id), []):
                for slot in range(first, last + 1):
                    counts[slot] += 1
        return counts

    def is_one(self) -> bool:
        """Whether all nodes tell clients of the same keys, each slot of which has one owner."""
        lists = {node.keys.ohttp_keys for node in self.nodes.values()}
        newest = next(iter(self.nodes.values())).listed()[0]
        return len(lists) == 1 and self.owners(newest.key_id) == [1] * SLOTS

    def leaders(self) -> list[Node]:
        """Return all that lead."""
        return [node for node in self.nodes.values() if node.member.leads]

    def _new_family(self) -> SigningKeys:
        self._families += 1
        return signing_keys(self._families)

    @contextlib.contextmanager
    def _network(self) -> Iterator[None]:
        def dial(address: Address) -> Dial:
            assert isinstance(address, UnixAddress)
            place = self.addresses.index(address)
            if frozenset({self._dialing, place}) in self.cut:
                raise PeerGone
            return Dial(self.ways.get((self._dialing, place), address))

        with mock.patch.object(seeking, "Dial", dial):
            yield


def _signing_of(state: State) -> SigningKeys:
    return decode_signing_keys(state.rsa, state.ed25519)
