"""The keys of a cluster: each generation with a table that says which enclave opens which slots.

A leader makes generations, with the table of who is alive then; followers take them as they are.
What makes it safe, whoever leads and whatever is lost, is not an agreement but that each table is
made with its keys and never changes: see `enclave_server.keys.holding`. Two leaders make different
keys.

All functions take the time (Unix seconds); nothing here reads a clock.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from enclave_server.keys.holding import Holding
from enclave_server.keys.ring import KEY_IDS, MECHANISMS, Generation, KeyRing, MakeKey, Schedule
from protocol.cluster_state import MAX_GENERATIONS, SharedGeneration, SharedKey
from protocol.encapsulation import GatewayKey
from protocol.errors import MalformedMessage
from protocol.kem import KEMS
from protocol.slots import share_slots

Choose = Callable[[Sequence[int]], int]


def first_shared_ring(schedule: Schedule, now: float, member: bytes) -> KeyRing:
    """Return the ring of a cluster's first member, which owns every slot."""
    return succeed(KeyRing(), schedule, now, member, [member], early=False)


def succeed(
    ring: KeyRing,
    schedule: Schedule,
    begins: float,
    member: bytes,
    members: Iterable[bytes],
    *,
    early: bool,
    make: MakeKey = GatewayKey.generate,
    choose: Choose = secrets.choice,
) -> KeyRing:
    """Return `ring` with a new generation, whose use begins at `begins`, shared among `members`.

    Its identifiers are random: leaders that do not know of each other rarely choose the same.
    """
    key_id = choose(_free_ids(ring))
    keys = tuple(make((key_id + place) % KEY_IDS, kem) for place, kem in enumerate(MECHANISMS))
    retires = _whole_milliseconds(begins + schedule.lifetime)
    ends = _whole_milliseconds(retires + schedule.grace)
    holding = Holding(share_slots(members), member)
    newest = Generation(keys, retires, ends, holding, early)
    return KeyRing((newest, *ring.generations)[:MAX_GENERATIONS])


def advance_shared(
    ring: KeyRing, schedule: Schedule, now: float, member: bytes, members: Iterable[bytes]
) -> KeyRing:
    """Return the leader's ring at `now`: without keys that ended, with a successor that is due."""
    ring = without_ended(ring, now)
    newest = ring.generations[0]
    if now < newest.retires - schedule.announce:
        return ring
    begins = max(newest.retires, now)
    return succeed(ring, schedule, begins, member, members, early=False)


def without_ended(ring: KeyRing, now: float) -> KeyRing:
    """Return the ring without keys that ended; the newest stays, and opens nothing any more."""
    newest, *others = ring.generations
    alive = (newest, *(each for each in others if now < each.ends))
    return ring if alive == ring.generations else KeyRing(alive)


def retire_older(ring: KeyRing, schedule: Schedule, now: float) -> KeyRing:
    """Return the ring in which the newest generation is the only one that is not retired."""
    newest, *others = ring.generations
    moment = _whole_milliseconds(now)
    retired = tuple(
        replace(each, retires=moment, ends=min(each.ends, moment + schedule.grace))
        if each.retires > moment
        else each
        for each in others
    )
    return KeyRing((newest, *retired))


def unlist_newest(ring: KeyRing) -> KeyRing:
    """Return the ring whose newest generation is retired: another comes before it is announced.

    It opens requests as before: a leader that is gone may have announced it already.
    """
    newest, *others = ring.generations
    return KeyRing((replace(newest, retires=0.0), *others))


def share(ring: KeyRing) -> tuple[SharedGeneration, ...]:
    """Return the ring as followers get it; ValueError for one that has no tables."""
    return tuple(_shared(each) for each in ring.generations)


def adopt(ring: KeyRing, shared: Iterable[SharedGeneration], member: bytes) -> KeyRing:
    """Return the ring of a follower that holds `ring`, joined as `member`, and is given `shared`.

    What it holds keeps its table and the identifier under which it came, and ends no later than it
    would have. Others own what the table gives to `member`: nothing, unless it was there when the
    table was made. What it alone holds stays, retired, unless another key has its identifier now.
    MalformedMessage for a table that changed.
    """
    held = {_secrets_of(each): each for each in ring.generations}
    adopted = tuple(_adopted(each, held, member) for each in shared)
    taken = {key.key_id for each in adopted for key in each.keys}
    known = {_secrets_of(each) for each in adopted}
    alone = tuple(
        replace(each, retires=0.0)
        for each in ring.generations
        if _secrets_of(each) not in known and taken.isdisjoint(key.key_id for key in each.keys)
    )
    result = (*adopted, *alone)[:MAX_GENERATIONS]
    return ring if result == ring.generations else KeyRing(result)


def _adopted(
    shared: SharedGeneration, held: dict[tuple[bytes, ...], Generation], member: bytes
) -> Generation:
    retires, ends = shared.retires / 1000, shared.ends / 1000
    mine = held.get(tuple(key.private_key for key in shared.keys))
    if mine is None:
        holding = Holding(shared.table, member)
        return Generation(_keys(shared), retires, ends, holding, shared.early)
    if mine.holding is None or mine.holding.table != shared.table:
        raise MalformedMessage("the table of a key has changed")
    return replace(mine, retires=min(mine.retires, retires), ends=min(mine.ends, ends))


def _keys(shared: SharedGeneration) -> tuple[GatewayKey, ...]:
    return tuple(
        GatewayKey((shared.key_id + place) % KEY_IDS, key.private_key, kem=KEMS[key.kem])
        for place, key in enumerate(shared.keys)
    )


def _shared(generation: Generation) -> SharedGeneration:
    if generation.holding is None:
        raise ValueError("a generation without a table")
    return SharedGeneration(
        generation.first.key_id,
        tuple(SharedKey(key.kem.code, key.private_key) for key in generation.keys),
        round(generation.retires * 1000),
        round(generation.ends * 1000),
        generation.holding.table,
        generation.early,
    )


def _secrets_of(generation: Generation) -> tuple[bytes, ...]:
    return tuple(key.private_key for key in generation.keys)


def _free_ids(ring: KeyRing) -> Sequence[int]:
    used = {key.key_id for each in ring.generations for key in each.keys}
    return [
        first
        for first in range(KEY_IDS)
        if used.isdisjoint((first + place) % KEY_IDS for place in range(len(MECHANISMS)))
    ]


def _whole_milliseconds(seconds: float) -> float:
    # What followers are told in milliseconds is what the leader goes by.
    return round(seconds * 1000) / 1000
