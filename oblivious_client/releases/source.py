"""The releases that a route relies on: trust, memory and the list of the moment in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from oblivious_client.errors import EvidenceRefused
from oblivious_client.exits import Exit
from oblivious_client.policy import MAX_AGE_SECONDS, Policy
from oblivious_client.releases import acceptance, clocks
from oblivious_client.releases.acceptance import Accepted
from oblivious_client.releases.clocks import HOUR
from oblivious_client.releases.memory import ReleaseMemory, Seen, contradiction, follows
from oblivious_client.releases.published import Published, Unverified, verify
from oblivious_client.releases.refusals import ListFault, ListRefused
from oblivious_client.releases.trust import DAY_SECONDS, Trust
from protocol.attestation import decode_attestation
from protocol.errors import AttestationError
from protocol.evidence import Evidence, VerifiedEvidence

RENEW_SECONDS = DAY_SECONDS
"""A list that was fetched so long ago is fetched anew with the next evidence."""

AGAIN_SECONDS = 60
"""Evidence of no accepted release has the list fetched anew, unless that was so short ago."""

FETCH_ADVICE = "fetch it: oblivious-client releases fetch --relay URL, or pin by hand with --pcrs"


@dataclass(frozen=True, slots=True)
class Current:
    """A verified list and when it was fetched (Unix seconds)."""

    published: Published
    fetched: float


class Releases:
    """What is trusted of releases, by one client; raises EvidenceRefused, each with its code.

    `given` is a list that the user brought as a file: then none is fetched.
    """

    def __init__(
        self, trust: Trust, memory: ReleaseMemory, *, given: bytes | None = None, now: float
    ) -> None:
        self.trust = trust
        self.memory = memory
        self.is_given = given is not None
        self._current: Current | None = None
        if given is not None:
            self.take(given, now=now)

    def current(self) -> Current | None:
        """Return the list of the moment, from memory if it was fetched by another process."""
        if self._current is None:
            seen = self.memory.load()
            known = None if seen is None else self._verified(seen)
            if seen is not None and known is not None:
                self._current = Current(known, seen.fetched)
        return self._current

    def take(self, served: bytes, *, now: float) -> Published:
        """Verify a list and make it the one of the moment; one that is older changes nothing.

        Raises EvidenceRefused: it does not verify, or contradicts what was seen before.
        """
        self.memory.require_no_conflict()
        published = read(served, self.trust)
        with self.memory.alone():
            known = self._known(published)
            # A copy on the way may be older than what was seen. If somebody holds newer ones back,
            # the age of what was seen will tell.
            if known is not None and _rank(known) > _rank(published):
                published = known
            self.memory.store(published, now)
        self._current = Current(published, now)
        return published

    def _known(self, published: Published) -> Published | None:
        """Return the list that was seen before, of which one has to begin with the other."""
        seen = self.memory.load()
        if seen is None:
            return None
        served = published.checkpoint
        if not follows(published.notes, seen.size, seen.root) and not follows(
            seen.notes, served.size, served.root
        ):
            raise contradiction(self.memory.keep_conflict(seen.notes, published.notes))
        known = self._verified(seen)
        if known is None and served.size < seen.size:
            raise EvidenceRefused(
                "the list of releases is older than the one that was seen before",
                advice="nothing was sent; try another relay, or later",
                code=Exit.RELEASES_REFUSED,
            )
        return known

    def _verified(self, seen: Seen) -> Published | None:
        """Return what was seen, None if others are trusted now who did not sign it."""
        try:
            return verify(seen.notes, self.trust)
        except ListRefused:
            return None

    def is_due(self, now: float) -> bool:
        """Whether the list should be fetched before evidence is judged by it."""
        current = self._current if self.is_given else self.current()
        if current is None:
            return not self.is_given
        if acceptance.is_stale(current.published, now):
            return self._is_older(AGAIN_SECONDS, now)
        is_aging = acceptance.warns(current.published, now)
        return self._is_older(HOUR if is_aging else RENEW_SECONDS, now)

    def may_have_changed(self, now: float) -> bool:
        """Whether fetching the list once more may help evidence that none of it fits."""
        return self._is_older(AGAIN_SECONDS, now)

    def _is_older(self, seconds: float, now: float) -> bool:
        if self.is_given:
            return False
        current = self.current()
        # One of the future was fetched by a clock that was wrong.
        return current is None or not 0 <= now - current.fetched < seconds

    def accepted(self, now: float) -> tuple[Accepted, ...]:
        """Return what will do now; raises EvidenceRefused where nothing tells or nothing does."""
        self.memory.require_no_conflict()
        current = self.current()
        if current is None:
            raise _stale("no list of releases has been fetched yet", FETCH_ADVICE)
        return accepted_of(current.published, now)

    def policy(self, base: Policy, now: float) -> Policy:
        """Return `base` with the measurements of what will do now."""
        return pinned(base, self.accepted(now))

    def release_of(self, verified: VerifiedEvidence, now: float) -> Accepted | None:
        """Return the accepted release that evidence is of."""
        return match(self.accepted(now), verified)

    def explained(
        self, refusal: EvidenceRefused, evidence: Evidence, now: float
    ) -> EvidenceRefused:
        """Return a refusal for its age that tells of this machine's clock, if that is wrong.

        The list and the document are two clocks; the document's time is not proven here, and
        nothing is accepted for it.
        """
        current = self._current
        if refusal.code not in (Exit.STALE, Exit.RELEASES_STALE) or current is None:
            return refusal
        listed, attested = current.published.as_of, _attested(evidence)
        if listed < now and not acceptance.is_stale(current.published, now):
            return refusal  # a list is always of some days ago, which says nothing of the clock
        allowed = MAX_AGE_SECONDS if listed < now else acceptance.CLOCK_SKEW_SECONDS
        said = clocks.advice(now, listed, attested, allowed=allowed)
        if not said:
            return refusal
        return EvidenceRefused(str(refusal), advice=said, code=refusal.code)

    def warning(self, now: float) -> str:
        """Return what to say of the list's age, or nothing."""
        current = self.current()
        if current is None or not acceptance.warns(current.published, now):
            return ""
        left = acceptance.fresh_until(current.published) - now
        return (
            f"the list of releases is {clocks.in_words(now - current.published.as_of)} old, and "
            f"no longer enough in {clocks.in_words(max(0.0, left))}: its witnesses are late"
        )


def read(served: bytes, trust: Trust) -> Published:
    """Return a verified list; raises EvidenceRefused."""
    try:
        return verify(Unverified.decode(served), trust)
    except ListRefused as refusal:
        advice = "nothing was sent; try another relay, and tell who runs the service"
        if refusal.fault is ListFault.LATER_KIND:
            advice = "update the client"
        raise EvidenceRefused(
            f"the list of releases is refused: {refusal}", advice=advice, code=Exit.RELEASES_REFUSED
        ) from refusal


def accepted_of(published: Published, now: float) -> tuple[Accepted, ...]:
    """Return what of a list will do at `now`; raises EvidenceRefused where nothing does."""
    if acceptance.is_ahead(published, now):
        ahead = clocks.in_words(published.as_of - now)
        raise _stale(
            f"the list of releases is of {ahead} from now, by this machine's clock",
            "set this machine's clock; nothing was sent",
        )
    if acceptance.is_stale(published, now):
        age = clocks.in_words(now - published.as_of)
        raise _stale(
            f"the list of releases is {age} old, and enough for {published.trust.fresh_days} days",
            "somebody may be holding a newer one back: fetch it through another relay, or pin by "
            "hand with --pcrs; nothing was sent",
        )
    found = acceptance.accepted(published, now)
    if not found:
        raise EvidenceRefused(
            "no release in the list will do now: it has none that enough builders have signed, "
            "that has begun, and that is not below the floor",
            advice="nothing was sent; tell who runs the service, or pin by hand with --pcrs",
            code=Exit.RELEASES_REFUSED,
        )
    return found


def pinned(base: Policy, accepted: Iterable[Accepted]) -> Policy:
    """Return a policy with the measurements of some releases."""
    first, *others = (each.release.pcrs for each in accepted)
    return replace(base, pcrs=first, also=tuple(others))


def match(accepted: Iterable[Accepted], verified: VerifiedEvidence) -> Accepted | None:
    """Return the release whose measurements evidence has, all of them."""
    found = verified.attestation.pcrs
    for each in accepted:
        if all(found.get(index) == value for index, value in each.release.pcrs.items()):
            return each
    return None


def unpublished(refusal: EvidenceRefused, trust: Trust) -> EvidenceRefused:
    """Return the refusal of evidence that no accepted release fits."""
    return EvidenceRefused(
        f"the enclave runs what {trust.builders} builders have not published, or not for now: "
        f"{refusal}",
        advice="nothing was sent; `oblivious-client releases list` shows what will do",
        code=Exit.PCRS,
    )


def _attested(evidence: Evidence) -> float:
    """Return the Unix second that a document says it was made in, 0 if it says none."""
    try:
        return decode_attestation(evidence.document).timestamp / 1000
    except AttestationError:
        return 0.0


def _rank(published: Published) -> tuple[int, int]:
    return published.checkpoint.size, published.as_of


def _stale(message: str, advice: str) -> EvidenceRefused:
    return EvidenceRefused(message, advice=advice, code=Exit.RELEASES_STALE)
