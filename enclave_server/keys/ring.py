"""The life of the gateway's HPKE keys, and the set of keys and evidence that workers serve with.

The times of one key whose use begins at t, with a lifetime L, an announcement A, a grace G:

    t - A        made, and given to every worker, all of which open requests with it at once;
                 when all have it, it is announced: listed first, and attested
    t            its predecessor retires: this key is the only one that is listed
    t + L - A    its successor is announced
    t + L        it retires: no longer listed, it still opens what was sealed to a cached list
    t + L + G    it ends: dropped by every process

A client that takes the first configuration of a list so uses a key from its announcement on, one
that keeps to an older list until the old key retires, and both are answered by every worker.
The first key of a start is announced when its use begins.

What "dropped" means: no process keeps a reference, so the memory is freed. Python cannot overwrite
a bytes object, nor the copies that the cryptographic libraries made, so that traces may stay in the
memory of a process until it is used again or the process ends. They never reach a disk: the
processes write no core dump and cannot be traced by others, and an enclave has no swap.

All functions take the time (Unix seconds); nothing here reads a clock.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from protocol.encapsulation import GatewayKey
from protocol.evidence import Evidence
from protocol.key_config import encode_key_configs
from protocol.signature import SigningKeys, key_identifier

KEY_IDS = 256

MakeKey = Callable[[int], GatewayKey]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long keys live, how long before their use they are announced, and how long they linger.

    All in seconds; `announce` is less than `lifetime` and `grace` at most as long, so that no
    more than four keys are alive at a time.
    """

    lifetime: float
    announce: float
    grace: float


@dataclass(frozen=True, slots=True)
class TimedKey:
    """A key with the times at which it retires and ends."""

    key: GatewayKey
    retires: float
    ends: float


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys that open requests, newest first."""

    keys: tuple[TimedKey, ...] = ()

    def listed(self, now: float) -> tuple[TimedKey, ...]:
        """Return the keys that clients are told of, newest first."""
        return tuple(timed for timed in self.keys if now < timed.retires)


def first_ring(
    schedule: Schedule,
    now: float,
    make: MakeKey = GatewayKey.generate,
    choose: Callable[[int], int] = secrets.randbelow,
) -> KeyRing:
    """Return a ring of one new key, whose identifier is random: a count would tell of restarts."""
    return KeyRing((_timed(make(choose(KEY_IDS)), schedule, now),))


def advance(
    ring: KeyRing, schedule: Schedule, now: float, make: MakeKey = GatewayKey.generate
) -> KeyRing:
    """Return the ring as it is at `now`: without keys that ended, with a successor that is due."""
    keys = tuple(timed for timed in ring.keys if now < timed.ends)
    newest = ring.keys[0]
    if now >= newest.retires - schedule.announce:
        # A clock that was stopped may have skipped the whole announcement.
        begins = max(newest.retires, now)
        successor = make((newest.key.key_id + 1) % KEY_IDS)
        keys = (_timed(successor, schedule, begins), *keys)
    return ring if keys == ring.keys else KeyRing(keys)


def next_change(ring: KeyRing, schedule: Schedule, now: float) -> float:
    """Return the next time after `now` at which `advance` or `listed` gives something else."""
    times = [time for timed in ring.keys for time in (timed.retires, timed.ends)]
    times.append(ring.keys[0].retires - schedule.announce)
    return min((time for time in times if time > now), default=now)


def _timed(key: GatewayKey, schedule: Schedule, begins: float) -> TimedKey:
    retires = begins + schedule.lifetime
    return TimedKey(key, retires, retires + schedule.grace)


@dataclass(frozen=True, slots=True)
class Publication:
    """What clients are told: a list of keys, and the evidence that binds exactly this list.

    `expires` is the time until which it may be cached: none of its keys retires before, nor does
    the evidence end.
    """

    ohttp_keys: bytes
    evidence: Evidence
    expires: float

    def lists(self, keys: tuple[TimedKey, ...]) -> bool:
        """Whether exactly `keys` are published."""
        return self.ohttp_keys == encode_listed(keys)


def encode_listed(keys: tuple[TimedKey, ...]) -> bytes:
    """Return the application/ohttp-keys bytes for `keys`."""
    return encode_key_configs([timed.key.config for timed in keys])


def publish(keys: tuple[TimedKey, ...], evidence: Evidence, evidence_ends: float) -> Publication:
    """Return the publication of `keys`; ValueError unless `evidence` is about exactly them."""
    ohttp_keys = encode_listed(keys)
    if evidence.ohttp_keys != ohttp_keys:
        raise ValueError("evidence for other keys")
    expires = min(evidence_ends, *(timed.retires for timed in keys))
    return Publication(ohttp_keys, evidence, expires)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that a worker serves with and their evidence, replaced as one: so they match."""

    gateway_keys: tuple[GatewayKey, ...]
    ends: tuple[float, ...]
    ohttp_keys: bytes
    evidence: Evidence
    signing_keys: SigningKeys
    tee_id: str
    expires: float

    def opening(self, now: float) -> tuple[GatewayKey, ...]:
        """Return the keys that open requests at `now`, even if no newer key set has come."""
        if now < self.ends[-1]:
            return self.gateway_keys
        pairs = zip(self.gateway_keys, self.ends, strict=True)
        return tuple(key for key, ends in pairs if now < ends)

    def end_of(self, key_id: int) -> float:
        """Return when the key of this identifier ends; 0 for a key that is gone already."""
        for key, ends in zip(self.gateway_keys, self.ends, strict=True):
            if key.key_id == key_id:
                return ends
        return 0.0


def key_set(ring: KeyRing, publication: Publication, signing_keys: SigningKeys) -> KeySet:
    """Return what workers serve with while `ring` opens requests and `publication` is told."""
    return KeySet(
        tuple(timed.key for timed in ring.keys),
        tuple(timed.ends for timed in ring.keys),
        publication.ohttp_keys,
        publication.evidence,
        signing_keys,
        key_identifier(signing_keys.rsa.public_key()),
        publication.expires,
    )
