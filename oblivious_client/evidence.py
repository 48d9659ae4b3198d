"""Evidence: verified and kept before anything is sealed to its keys. `fetching` requests it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from oblivious_client.cache import Entry
from oblivious_client.errors import ClientError, EvidenceRefused, ExchangeError
from oblivious_client.exits import Exit
from oblivious_client.fetching import (
    ANEW,
    PAUSES,
    PLAIN,
    Clock,
    Flow,
    Pause,
    evidence_in,
    evidence_request,
    fetch_keys_seen,
    fetch_releases,
    fetching,
    freshness,
    is_old,
    patiently,
)
from oblivious_client.policy import Policy, decode
from oblivious_client.releases.keys_seen import NotSighted, SightingFault
from oblivious_client.releases.source import unpublished
from oblivious_client.route import Route
from protocol.evidence import Evidence, VerifiedEvidence
from protocol.key_config import KeyConfig

MIRROR_PAUSES = (60.0,) * 5
"""Seconds between looks whether a mirror has seen keys: it asks every five minutes."""

REMEMBERED_KEYS = 4
"""As many as a gateway has of one mechanism at a time."""

# Says what evidence proves at a Unix second, or raises EvidenceRefused.
Judge = Callable[[Policy, Evidence, float], VerifiedEvidence]


@dataclass(frozen=True, slots=True)
class Held:
    """Verified evidence and the Unix second until which it may be used."""

    verified: VerifiedEvidence
    expires: float


class EvidenceSource:
    """The verified evidence of one route: from memory, from disk, or fetched."""

    def __init__(self, route: Route, *, clock: Clock = time.time) -> None:
        self.route = route
        self.clock = clock
        self._held: Held | None = None
        # Keys that the gateway did not know: after its restart a relay may keep evidence for them.
        self._refused: tuple[KeyConfig, ...] = ()
        self._is_copy_old = False
        self._is_key_due = False  # another one, says whoever did not know the last
        self._failure: Exception | None = None  # that the last renewal ended with
        self.warning = self.list_warning = ""  # of what was last verified
        self.has_verified = False  # any evidence: so the address is right
        self.renewals = 0  # that have ended

    @property
    def policy(self) -> Policy:
        """What is demanded now: pins, or the releases that will do; raises EvidenceRefused."""
        releases = self.route.releases
        if releases is None:
            return self.route.policy
        return releases.policy(self.route.policy, self.clock())

    def kept(self) -> VerifiedEvidence | None:
        """Return evidence that holds now, if there is any that costs no request."""
        held = self._held or self._stored()
        if held is None or self.clock() >= held.expires or self._is_refused(held.verified):
            return None
        if not self._is_accepted(held.verified):
            return None
        self._held, self.has_verified = held, True
        return held.verified

    def shared(self, renewals: int) -> Flow[VerifiedEvidence]:
        """Return what is kept, or fetch it, for one of many that wait for each other in a lock.

        `renewals` is what this source said before: who waited for one has what came of it, be it
        a failure or a key that was refused.
        """
        kept = self.kept()
        if kept is None and renewals != self.renewals:
            kept = self._waited_for()
        if kept is not None:
            return kept
        try:
            verified = yield from self.renewed()
        except Exception as failure:
            self._end_renewal(failure)
            raise
        self._end_renewal(None)
        return verified

    def _end_renewal(self, failure: Exception | None) -> None:
        self._failure = failure
        self.renewals += 1

    def _waited_for(self) -> VerifiedEvidence | None:
        """Return what came of the last renewal as long as it holds, or raise what it raised."""
        if self._failure is not None:
            raise self._failure
        held = self._held
        return held.verified if held is not None and self.clock() < held.expires else None

    def renewed(self) -> Flow[VerifiedEvidence]:
        """Fetch and verify anew, whatever is kept; raises EvidenceRefused."""
        is_held = self._held is not None and self.clock() < self._held.expires
        # The gateway refuses a key that should hold: the relay's copy is as old as ours.
        fields = ANEW if is_held or self._is_copy_old else PLAIN
        self.forget()
        yield from self.releases_renewed()
        extensions = fetching()
        response = yield from patiently(self._evidence_request(fields, extensions))
        verified = yield from self._verified(response)
        for seconds in PAUSES:
            may_change = self._is_key_due or is_old(response, self.clock())
            if not (self._is_refused(verified) and may_change):
                break
            # Over its limit a relay serves its copy, be it asked for another; and a cluster that
            # has lost an enclave takes some seconds to make a key for those that are left.
            yield Pause(seconds)
            response = yield from patiently(self._evidence_request(ANEW, extensions))
            verified = yield from self._verified(response)
        yield from self._sighted(verified)
        self._hold(verified, freshness(response.headers))
        self._is_copy_old = self._is_key_due = False
        return verified

    def _sighted(self, verified: VerifiedEvidence) -> Flow[None]:
        """Have mirrors vouch that everybody is given these keys; raises EvidenceRefused.

        A mirror sees keys of an enclave that has just started a few minutes later: so it is asked
        again for a while before that counts.
        """
        mirrors, self.warning = self.route.mirrors, ""
        if mirrors is None:
            return
        keys = verified.evidence.ohttp_keys
        for look, seconds in enumerate((*MIRROR_PAUSES, None)):
            try:
                served = yield from fetch_keys_seen(self.route.endpoint)
                mirrors.check(served, keys, self.clock())
                return
            except (ExchangeError, httpx.TransportError, NotSighted) as failure:
                if seconds is None or not _may_be_seen_soon(failure):
                    self._unsighted(failure, is_required=mirrors.is_required)
                    return
            if look == 0:
                self.route.tell(_waiting())
            yield Pause(seconds)

    def _unsighted(self, failure: Exception, *, is_required: bool) -> None:
        told = f"nobody vouches that others are given the same keys: {failure}"
        if is_required:
            raise EvidenceRefused(
                told,
                advice="nothing was sent; try another relay, or --mirror-down warn to ask anyway",
                code=Exit.KEYS_UNSEEN,
            ) from failure
        self.warning = told

    def refuse(self, verified: VerifiedEvidence, *, is_key_due: bool = False) -> None:
        """Remember that the gateway did not know the key that was sealed to.

        `is_key_due` says that it told to come back: so there will be another key, to wait for.
        """
        self._is_copy_old = True
        self._is_key_due = self._is_key_due or is_key_due
        key = verified.sealing_config
        self._refused = (key, *(each for each in self._refused if each != key))[:REMEMBERED_KEYS]

    def accept(self, verified: VerifiedEvidence) -> None:
        """Forget that a key was refused: an answer to it has come."""
        if self._refused:
            key = verified.sealing_config
            self._refused = tuple(each for each in self._refused if each != key)

    def forget(self) -> None:
        """Drop what is kept."""
        policy, self._held = self._policy_or_none(), None
        if self.route.cache is not None and policy is not None:
            self.route.cache.forget(self.route.endpoint, policy)

    def _is_refused(self, verified: VerifiedEvidence) -> bool:
        return verified.sealing_config in self._refused

    def _evidence_request(
        self, fields: Mapping[str, str], extensions: dict[str, object]
    ) -> httpx.Request:
        request = evidence_request(self.route.endpoint, extensions)
        request.headers.update(fields)
        return request

    def _verified(self, response: httpx.Response) -> Flow[VerifiedEvidence]:
        evidence = decode(evidence_in(response, self.route.endpoint))
        return (yield from self.judged(evidence, _verify))

    def judged(self, evidence: Evidence, judge: Judge) -> Flow[VerifiedEvidence]:
        """Return what `judge` says of evidence by the policy of the moment; EvidenceRefused.

        What no release fits may be of one that has just come out: then the list is fetched, once.
        """
        releases = self.route.releases
        try:
            return self._judged(evidence, judge)
        except EvidenceRefused as refusal:
            if refusal.code is not Exit.PCRS or releases is None:
                raise
            if not releases.may_have_changed(self.clock()):
                raise
        yield from self.fetch_releases()
        return self._judged(evidence, judge)

    def _judged(self, evidence: Evidence, judge: Judge) -> VerifiedEvidence:
        now = self.clock()
        try:
            verified = judge(self.policy, evidence, now)
        except EvidenceRefused as refusal:
            raise self._explained(refusal, evidence, now) from refusal
        self.has_verified = True
        return verified

    def releases_renewed(self) -> Flow[None]:
        """Fetch the list of releases if it is due; one that is here goes on while it is fresh.

        That somebody serves none, or a bad one, holds newer ones back no longer than a freeze does.
        """
        releases = self.route.releases
        if releases is None or not releases.is_due(self.clock()):
            return
        self.list_warning = ""
        try:
            yield from self.fetch_releases()
        except (ExchangeError, EvidenceRefused, httpx.TransportError) as failure:
            is_conflict = getattr(failure, "code", None) is Exit.RELEASES_CONFLICT
            if is_conflict or releases.current() is None:
                raise
            self.list_warning = (
                f"no newer list of releases came, the one that is here goes on: {failure}"
            )

    def fetch_releases(self) -> Flow[None]:
        """Fetch the list of releases and take it; raises EvidenceRefused."""
        served = yield from fetch_releases(self.route.endpoint)
        if self.route.releases is not None:
            self.route.releases.take(served, now=self.clock())

    def _explained(
        self, refusal: EvidenceRefused, evidence: Evidence, now: float
    ) -> EvidenceRefused:
        """Return a refusal that tells of the clock, if that is what it comes of."""
        releases = self.route.releases
        if releases is None:
            return refusal
        if refusal.code is Exit.PCRS:
            return unpublished(refusal, releases.trust)
        return releases.explained(refusal, evidence, now)

    def _is_accepted(self, verified: VerifiedEvidence) -> bool:
        """Whether what has verified will still do; pins do not change, releases do."""
        if self.route.releases is None:
            return True
        policy = self._policy_or_none()
        return policy is not None and bool(policy.pins_of(verified))

    def _policy_or_none(self) -> Policy | None:
        try:
            return self.policy
        except ClientError:
            return None  # what is fetched next says why

    def _hold(self, verified: VerifiedEvidence, seconds: int) -> None:
        now = self.clock()
        expires = min(now + seconds, self.route.policy.expiry(verified))
        self._held = Held(verified, expires)
        if self.route.cache is not None and expires > now:
            entry = Entry(verified.evidence.encode(), expires)
            self.route.cache.store(self.route.endpoint, self.policy, entry)

    def _stored(self) -> Held | None:
        policy = self._policy_or_none()
        if self.route.cache is None or policy is None:
            return None
        entry = self.route.cache.load(self.route.endpoint, policy)
        if entry is None:
            return None
        try:
            verified = policy.verify(decode(entry.evidence), now=self.clock())
        except EvidenceRefused:
            return None  # what is fetched instead is verified by the same policy
        return Held(verified, min(entry.expires, self.route.policy.expiry(verified)))


def _waiting() -> str:
    """Return why nothing happens for a while."""
    minutes = round(sum(MIRROR_PAUSES) / 60)
    return (
        "no mirror has seen these keys yet, which is so for minutes after an enclave has started: "
        f"looking again for up to {minutes} min"
    )


def _may_be_seen_soon(failure: Exception) -> bool:
    return isinstance(failure, NotSighted) and failure.fault is SightingFault.UNSEEN


def _verify(policy: Policy, evidence: Evidence, now: float) -> VerifiedEvidence:
    return policy.verify(evidence, now=now)
