"""The life of the gateway's HPKE keys, and the set of keys and evidence that workers serve with.

Keys come in generations: one of each mechanism of MECHANISMS, made, announced, retired and dropped
as one. The times of a generation whose use begins at t, with a lifetime L, an announcement A, a
grace G:

    t - A        made, and given to every worker, all of which open requests with it at once;
                 when all have it, it is announced: listed first, and attested
    t            its predecessor retires: this generation is the only one that is listed
    t + L - A    its successor is announced
    t + L        it retires: no longer listed, it still opens what was sealed to a cached list
    t + L + G    it ends: dropped by every process

A client that takes the first configuration of a list that it knows so uses a key from its
announcement on, one that keeps to an older list until the old key retires, and both are answered by
every worker. The first generation of a start is announced when its use begins.

What "dropped" means: no process keeps a reference, so the memory is freed. Python cannot overwrite
a bytes object, nor the copies that the cryptographic libraries made, so that traces may stay in the
memory of a process until it is used again or the process ends. They never reach a disk: the
processes write no core dump and cannot be traced by others, and an enclave has no swap.

All functions take the time (Unix seconds); nothing here reads a clock.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from enclave_server.keys.holding import Holding
from protocol.encapsulation import GatewayKey
from protocol.evidence import Evidence
from protocol.kem import X25519_HKDF_SHA256, X_WING, Kem
from protocol.key_config import encode_key_configs
from protocol.signature import SigningKeys, key_identifier

KEY_IDS = 256

MECHANISMS = (X_WING, X25519_HKDF_SHA256)
"""Of each generation, in the order of the list: clients that have not the first take the next."""

MakeKey = Callable[[int, Kem], GatewayKey]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long keys live, how long before their use they are announced, and how long they linger.

    All in seconds; `announce` is less than `lifetime` and `grace` at most as long, so that no
    more than four generations are alive at a time.
    """

    lifetime: float
    announce: float
    grace: float


@dataclass(frozen=True, slots=True)
class Generation:
    """A key of each mechanism, and the times at which all of them retire and end.

    In a cluster it has slots, and may be `early`: made because of who came or went.
    """

    keys: tuple[GatewayKey, ...]
    retires: float
    ends: float
    holding: Holding | None = None
    early: bool = False

    @property
    def first(self) -> GatewayKey:
        """The key that is listed first; the identifiers count up from its."""
        return self.keys[0]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys that open requests, newest first."""

    generations: tuple[Generation, ...] = ()

    def listed(self, now: float) -> tuple[Generation, ...]:
        """Return the generations that clients are told of, newest first."""
        return tuple(each for each in self.generations if now < each.retires)


def first_ring(
    schedule: Schedule,
    now: float,
    make: MakeKey = GatewayKey.generate,
    choose: Callable[[int], int] = secrets.randbelow,
) -> KeyRing:
    """Return a ring of one generation; its identifiers are random, as a count tells of restarts."""
    return KeyRing((_generation(choose(KEY_IDS), schedule, now, make),))


def advance(
    ring: KeyRing, schedule: Schedule, now: float, make: MakeKey = GatewayKey.generate
) -> KeyRing:
    """Return the ring as it is at `now`: without keys that ended, with a successor that is due."""
    alive = tuple(each for each in ring.generations if now < each.ends)
    newest = ring.generations[0]
    if now >= newest.retires - schedule.announce:
        # A clock that was stopped may have skipped the whole announcement.
        begins = max(newest.retires, now)
        key_id = newest.first.key_id + len(newest.keys)
        alive = (_generation(key_id, schedule, begins, make), *alive)
    return ring if alive == ring.generations else KeyRing(alive)


def next_change(ring: KeyRing, schedule: Schedule, now: float) -> float:
    """Return the next time after `now` at which `advance` or `listed` gives something else."""
    times = [time for each in ring.generations for time in (each.retires, each.ends)]
    times.append(ring.generations[0].retires - schedule.announce)
    return min((time for time in times if time > now), default=now)


def _generation(key_id: int, schedule: Schedule, begins: float, make: MakeKey) -> Generation:
    # Each key has an identifier of its own, by which a gateway finds it before anything else.
    keys = tuple(make((key_id + place) % KEY_IDS, kem) for place, kem in enumerate(MECHANISMS))
    retires = begins + schedule.lifetime
    return Generation(keys, retires, retires + schedule.grace)


@dataclass(frozen=True, slots=True)
class Publication:
    """What clients are told: a list of keys, and the evidence that binds exactly this list.

    `expires` is the time until which it may be cached: none of its keys retires before, nor does
    the evidence end.
    """

    ohttp_keys: bytes
    evidence: Evidence
    expires: float

    def lists(self, generations: tuple[Generation, ...]) -> bool:
        """Whether exactly `generations` are published."""
        return self.ohttp_keys == encode_listed(generations)


def encode_listed(generations: tuple[Generation, ...]) -> bytes:
    """Return the application/ohttp-keys bytes for `generations`."""
    return encode_key_configs([key.config for each in generations for key in each.keys])


def publish(
    generations: tuple[Generation, ...], evidence: Evidence, evidence_ends: float
) -> Publication:
    """Return the publication of `generations`; ValueError unless `evidence` is about just them."""
    ohttp_keys = encode_listed(generations)
    if evidence.ohttp_keys != ohttp_keys:
        raise ValueError("evidence for other keys")
    expires = min(evidence_ends, *(each.retires for each in generations))
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
        # Not the last one's: in a cluster, keys of another leader end when they would have.
        if now < min(self.ends):
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
    pairs = [(key, each.ends) for each in ring.generations for key in each.keys]
    return KeySet(
        tuple(key for key, _ in pairs),
        tuple(ends for _, ends in pairs),
        publication.ohttp_keys,
        publication.evidence,
        signing_keys,
        key_identifier(signing_keys.rsa.public_key()),
        publication.expires,
    )
