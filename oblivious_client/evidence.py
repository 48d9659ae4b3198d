"""Evidence: fetched, verified and kept before anything is sealed to its keys.

The steps are generators that yield a request and are sent its response, so that one text
serves the synchronous and the asynchronous transport.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx

from oblivious_client.advice import silence
from oblivious_client.cache import Entry
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import ClientError, EvidenceRefused, ExchangeError, OuterRefusal
from oblivious_client.exits import Exit
from oblivious_client.outer import BODY_LIMIT, DEADLINE
from oblivious_client.policy import Policy, decode
from oblivious_client.releases.keys_seen import NotSighted, SightingFault
from oblivious_client.releases.published import MAX_LIST_BYTES
from oblivious_client.releases.source import unpublished
from oblivious_client.route import Route
from protocol.evidence import Evidence, VerifiedEvidence
from protocol.key_config import KeyConfig
from protocol.registry import JSON, OHTTP_KEYS

# Every client sends the same fields, so that they tell no two apart.
OUTER_FIELDS = (("User-Agent", "oblivious-client"), ("Accept-Encoding", "identity"))

CONNECT_SECONDS = 15.0
"""For a connection, TLS included, whatever is asked over it."""

FETCH_SECONDS = 30.0
"""For evidence or keys in all, pauses and repetitions too: they are served from memory."""

PAUSES = (1.0, 2.0, 4.0)
"""Seconds between tries: a limit of one request a second, shared by all of a relay's clients."""
LONGEST_PAUSE = 5

MIRROR_PAUSES = (60.0,) * 5
"""Seconds between looks whether a mirror has seen keys: it asks every five minutes."""

REMEMBERED_KEYS = 4
"""As many as a gateway has of one mechanism at a time."""

PLAIN: Mapping[str, str] = {}
ANEW: Mapping[str, str] = {"Cache-Control": "no-cache"}
"""Has a relay ask its gateway although it keeps a copy."""

T = TypeVar("T")
# Yields a request and is sent its response, or yields a pause and goes on after it.
Flow = Generator["Step", httpx.Response, T]
Clock = Callable[[], float]
# Says what evidence proves at a Unix second, or raises EvidenceRefused.
Judge = Callable[[Policy, Evidence, float], VerifiedEvidence]


@dataclass(frozen=True, slots=True)
class Held:
    """Verified evidence and the Unix second until which it may be used."""

    verified: VerifiedEvidence
    expires: float


@dataclass(frozen=True, slots=True)
class Copy:
    """Evidence as it was served, nothing of it verified.

    `kept` is for how many seconds a relay had kept it, None where nothing tells.
    """

    evidence: Evidence
    kept: int | None


@dataclass(frozen=True, slots=True)
class Pause:
    """A step of a flow that waits, in seconds."""

    seconds: float


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
            self._failure, self.renewals = failure, self.renewals + 1
            raise
        self._failure, self.renewals = None, self.renewals + 1
        return verified

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
        response = yield from _patiently(self._evidence_request(fields, extensions))
        verified = yield from self._verified(response)
        for seconds in PAUSES:
            may_change = self._is_key_due or _is_old(response, self.clock())
            if not (self._is_refused(verified) and may_change):
                break
            # Over its limit a relay serves its copy, be it asked for another; and a cluster that
            # has lost an enclave takes some seconds to make a key for those that are left.
            yield Pause(seconds)
            response = yield from _patiently(self._evidence_request(ANEW, extensions))
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
        for seconds in (*MIRROR_PAUSES, None):
            try:
                served = yield from fetch_keys_seen(self.route.endpoint)
                mirrors.check(served, keys, self.clock())
                return
            except (ExchangeError, httpx.TransportError, NotSighted) as failure:
                if seconds is None or not _may_be_seen_soon(failure):
                    self._unsighted(failure, is_required=mirrors.is_required)
                    return
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
        evidence = decode(_evidence_in(response, self.route.endpoint))
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
        if entry is None or entry.expires <= self.clock():
            return None
        try:
            verified = policy.verify(decode(entry.evidence), now=self.clock())
        except EvidenceRefused:
            return None  # what is fetched instead is verified by the same policy
        return Held(verified, min(entry.expires, self.route.policy.expiry(verified)))


Step = httpx.Request | Pause


def _may_be_seen_soon(failure: Exception) -> bool:
    return isinstance(failure, NotSighted) and failure.fault is SightingFault.UNSEEN


def _verify(policy: Policy, evidence: Evidence, now: float) -> VerifiedEvidence:
    return policy.verify(evidence, now=now)


def _patiently(request: httpx.Request) -> Flow[httpx.Response]:
    """Return the response; a relay that says "not so often" (429) is asked again a little later."""
    response = yield request
    for seconds in PAUSES:
        if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
            break
        told = _seconds(response.headers.get("retry-after", ""))
        yield Pause(max(seconds, min(told, LONGEST_PAUSE)))
        response = yield request
    return response


def _is_old(response: httpx.Response, now: float) -> bool:
    """Whether a relay had kept a response, so that its gateway may say something else by now."""
    return (kept_seconds(response.headers, now=now) or 0) > 0


def fetch(endpoint: Endpoint, nonce: bytes | None = None) -> Flow[Evidence]:
    """Return what is served now, nothing of it verified; a nonce has a document made for us."""
    return (yield from fetch_copy(endpoint, nonce)).evidence


def fetch_copy(
    endpoint: Endpoint,
    nonce: bytes | None = None,
    fields: Mapping[str, str] = PLAIN,
    clock: Clock = time.time,
) -> Flow[Copy]:
    """Return what `fetch` does, and for how long a relay had kept it; ANEW has it keep another."""
    request = evidence_request(endpoint, fetching(), nonce)
    request.headers.update(fields)
    response = yield from _patiently(request)
    kept = kept_seconds(response.headers, now=clock())
    return Copy(decode(_evidence_in(response, endpoint)), kept)


def fetch_keys(endpoint: Endpoint) -> Flow[bytes]:
    """Return the application/ohttp-keys bytes that are served, nothing of them verified."""
    fields = [*OUTER_FIELDS, ("Accept", OHTTP_KEYS.decode())]
    response = yield httpx.Request("GET", endpoint.keys, headers=fields, extensions=fetching())
    return body_of(response, "keys", endpoint.role)


def fetch_releases(endpoint: Endpoint) -> Flow[bytes]:
    """Return the list of releases that is served, nothing of it verified."""
    return (yield from _fetch_file(endpoint, endpoint.releases, "list of releases"))


def fetch_keys_seen(endpoint: Endpoint) -> Flow[bytes]:
    """Return the mirrors' notes that are served, nothing of them verified."""
    return (yield from _fetch_file(endpoint, endpoint.keys_seen, "mirrors' notes"))


def _fetch_file(endpoint: Endpoint, url: httpx.URL, what: str) -> Flow[bytes]:
    # The same fields as for evidence, so that it tells no two apart who asks for it.
    fields = [*OUTER_FIELDS, ("Accept", JSON.decode())]
    extensions = {**fetching(), BODY_LIMIT: MAX_LIST_BYTES}
    request = httpx.Request("GET", url, headers=fields, extensions=extensions)
    return body_of((yield from _patiently(request)), what, endpoint.role)


def fetching() -> dict[str, object]:
    """Return the extensions of requests that have FETCH_SECONDS from now."""
    timeout = httpx.Timeout(FETCH_SECONDS, connect=CONNECT_SECONDS).as_dict()
    return {"timeout": timeout, DEADLINE: time.monotonic() + FETCH_SECONDS}


def evidence_request(
    endpoint: Endpoint, extensions: dict[str, object], nonce: bytes | None = None
) -> httpx.Request:
    """Return the request for the evidence."""
    fields = [*OUTER_FIELDS, ("Accept", JSON.decode())]
    return httpx.Request("GET", endpoint.evidence(nonce), headers=fields, extensions=extensions)


def body_of(response: httpx.Response, what: str, role: Role) -> bytes:
    """Return the body of a 200; raises OuterRefusal otherwise."""
    if response.status_code != httpx.codes.OK:
        otherwise = "check the address: it must be a relay or gateway of this service"
        if httpx.codes.is_server_error(response.status_code):
            otherwise = "the gateway or the way to it is down: try again later"
        silent = silence(response, role)
        raise OuterRefusal(
            f"asked for the {what}, {response.request.url} answered {response.status_code}",
            status=response.status_code,
            advice=silent or otherwise,
            is_silence=silent is not None,
        )
    return response.content


def _evidence_in(response: httpx.Response, endpoint: Endpoint) -> bytes:
    return body_of(response, "evidence", endpoint.role)


def freshness(headers: httpx.Headers) -> int:
    """Return for how many more seconds the response may be reused (RFC 9111, Section 4.2)."""
    directives = [part.strip().lower() for part in headers.get("cache-control", "").split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0
    ages = [part.removeprefix("max-age=") for part in directives if part.startswith("max-age=")]
    lifetime = _seconds(ages[0]) if ages else 0
    return max(0, lifetime - _seconds(headers.get("age", "0")))


def kept_seconds(headers: httpx.Headers, *, now: float) -> int | None:
    """Return how old a response was when it came (RFC 9111, Section 4.2.3), if it tells.

    Age goes before Date, which is right by as much as this clock and the gateway's agree.
    """
    if "age" in headers:
        return _seconds(headers["age"])
    with suppress(KeyError, ValueError, OverflowError):
        return max(0, round(now - parsedate_to_datetime(headers["date"]).timestamp()))
    return None


def _seconds(text: str) -> int:
    """Return delta-seconds (RFC 9111, Section 1.2.2), cut where it says; 0 for anything else."""
    if not text.isdecimal():
        return 0
    return int(text) if len(text) <= 9 else 1 << 31


def too_large(what: httpx.URL) -> ExchangeError:
    """Return the error for a body over its limit."""
    return ExchangeError(
        f"{what} answered with more than any honest answer needs", code=Exit.UNREADABLE
    )
