"""What a member says of itself: to its workers, and to the front that routes to them."""

import json
from collections.abc import Collection
from dataclasses import dataclass

from enclave_server.gateway.standing import Ownership, Standing
from enclave_server.keys.holding import Holding
from enclave_server.keys.ring import Generation, KeyRing
from protocol.slots import SLOTS


@dataclass(frozen=True, slots=True)
class Company:
    """Who is there, as far as a member knows; identifiers have 16 octets."""

    member: bytes
    leader: bytes | None
    members: frozenset[bytes]
    turns: int


def unowned_slots(ring: KeyRing, members: Collection[bytes]) -> int:
    """Return how many slots of the newest generation belong to nobody who is alive."""
    return _octets(ring.generations[0], members).count(Ownership.NOBODYS)


def make_standing(ring: KeyRing, company: Company) -> Standing:
    """Return whose each slot of each key is, and the statement of the slots that are ours."""
    ownership: dict[int, bytes] = {}
    slots: dict[str, list[tuple[int, int]]] = {}
    for generation in ring.generations:
        octets = _octets(generation, company.members)
        ranges = _ranges(generation.holding)
        for key in generation.keys:
            ownership[key.key_id] = octets
            slots[str(key.key_id)] = ranges
    statement = {
        "member": company.member.hex(),
        "leader": None if company.leader is None else company.leader.hex(),
        "members": [member.hex() for member in sorted(company.members)],
        "turns": company.turns,
        "unowned": unowned_slots(ring, company.members),
        "slots": slots,
    }
    return Standing(ownership, json.dumps(statement, separators=(",", ":")).encode())


def _octets(generation: Generation, members: Collection[bytes]) -> bytes:
    holding = generation.holding
    if holding is None:
        return bytes(SLOTS)
    return bytes(_ownership(owner, holding, members) for owner in holding.owners())


def _ownership(owner: bytes, holding: Holding, members: Collection[bytes]) -> Ownership:
    if owner == holding.member:
        return Ownership.OWN
    return Ownership.OTHERS if owner in members else Ownership.NOBODYS


def _ranges(holding: Holding | None) -> list[tuple[int, int]]:
    own = range(0) if holding is None else holding.slots
    return [(own.start, own.stop - 1)] if own else []
