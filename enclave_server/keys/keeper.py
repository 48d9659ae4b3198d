"""What the supervisor does with keys as time passes: rotate, attest, announce.

The order matters: a key is announced only when every worker opens requests with it, and is told
of in a list that its evidence binds. Publications and keys change only together, in one KeySet.
"""

from collections.abc import Callable

from enclave_server.keys.attester import Attester, certificate_end, document_time
from enclave_server.keys.ring import (
    Generation,
    KeyRing,
    KeySet,
    Schedule,
    advance,
    encode_listed,
    first_ring,
    key_set,
    publish,
)
from enclave_server.security_module.clock import check_clock
from enclave_server.security_module.nsm import NsmError
from protocol.key_config import KeyConfig
from protocol.signature import SigningKeys

RENEWAL_SECONDS = 300.0
"""Evidence is remade this long before its certificate ends, at the latest."""

KEPT_REFRESHES = 1.5
"""Copies may be kept until evidence is this many times as old as it ever gets here. With the
default half-hour that is well below the hour after which clients call a document stale."""

RETRY_SECONDS = 5.0
"""Between attempts while the security module gives no evidence, or only what is about to end."""


Succession = Callable[[KeyRing, float], KeyRing]
"""Takes a ring and the time, and returns the ring as it is then: the same one if nothing is due."""


class KeyKeeper:
    """Holds the private keys and what is published of them; `step` moves both on in time."""

    def __init__(
        self,
        schedule: Schedule,
        attester: Attester,
        signing_keys: SigningKeys,
        *,
        refresh: float,
        now: float,
        ring: KeyRing | None = None,
        succession: Succession | None = None,
        announced: bool = True,
    ) -> None:
        """Make the first key and its evidence; raises NsmError, and ClockError.

        In a cluster there may be a `ring` already, whose newest generation is `announced` or not,
        and `succession` says what becomes of it.
        """
        self._schedule = schedule
        self._attester = attester
        self._signing_keys = signing_keys
        self._refresh = refresh
        self._succession = succession or self._succeed
        self._ring = ring or first_ring(schedule, now)
        self._is_replaced = False
        self._retry_at = now
        self.failure: NsmError | None = None
        self._announced: KeyConfig | None = None
        self._publish(self._listable(now, settled=announced), now)

    @property
    def keys(self) -> KeySet:
        """What workers are to serve with."""
        return key_set(self._ring, self._publication, self._signing_keys)

    @property
    def ring(self) -> KeyRing:
        """All keys, newest first."""
        return self._ring

    @property
    def announced(self) -> bool:
        """Whether clients are told of the newest generation."""
        return self._ring.generations[0].first.config == self._announced

    def replace(self, ring: KeyRing) -> None:
        """Go on with `ring`: of a leader, or for a change of members."""
        self._is_replaced = self._is_replaced or ring is not self._ring
        self._ring = ring

    def step(self, now: float, *, settled: bool) -> bool:
        """Do what is due at `now`; whether `keys` changed. Raises ClockError.

        `settled` says that every worker serves with the present `keys`. When the security module
        fails, `failure` says why, what was published stays, and later steps try again.
        """
        ring = self._succession(self._ring, now)
        rotated = self._is_replaced or ring is not self._ring
        self._ring, self._is_replaced = ring, False
        # No worker has heard yet of a key that has just been made.
        return self._republish(now, settled=settled and not rotated) or rotated

    def forget(self) -> None:
        """Drop every private key: a forked worker gets its own by message."""
        self._ring = KeyRing()

    def _republish(self, now: float, *, settled: bool) -> bool:
        generations = self._listable(now, settled=settled)
        is_due = now >= self._refresh_at or not self._publication.lists(generations)
        if not is_due or now < self._retry_at:
            return False
        try:
            self._publish(generations, now)
        except NsmError as error:
            self.failure = error
            self._retry_at = now + RETRY_SECONDS
            return False
        self.failure = None
        return True

    def _listable(self, now: float, *, settled: bool) -> tuple[Generation, ...]:
        # A follower makes no successor, and may be without a leader when its newest key retires.
        listed = self._ring.listed(now) or self._ring.generations[:1]
        is_announced = settled or listed[0].first.config == self._announced
        return listed if is_announced or len(listed) == 1 else listed[1:]

    def _succeed(self, ring: KeyRing, now: float) -> KeyRing:
        return advance(ring, self._schedule, now)

    def _publish(self, generations: tuple[Generation, ...], now: float) -> None:
        evidence = self._attester.attest(encode_listed(generations))
        made = document_time(evidence.document)
        check_clock(now, {"security module": made})
        end = certificate_end(evidence.document)
        ends = min(end, made + KEPT_REFRESHES * self._refresh)
        self._publication = publish(generations, evidence, ends)
        self._announced = generations[0].first.config
        soonest = now + min(RETRY_SECONDS, self._refresh)
        self._refresh_at = max(soonest, min(now + self._refresh, end - RENEWAL_SECONDS))
