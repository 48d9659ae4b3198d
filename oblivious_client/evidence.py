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
from oblivious_client.errors import EvidenceRefused, ExchangeError, OuterRefusal
from oblivious_client.exits import Exit
from oblivious_client.policy import decode
from oblivious_client.route import Route
from protocol.evidence import Evidence, VerifiedEvidence
from protocol.registry import JSON, OHTTP_KEYS

# Every client sends the same fields, so that they tell no two apart.
OUTER_FIELDS = (("User-Agent", "oblivious-client"), ("Accept-Encoding", "identity"))

FETCHING: dict[str, object] = {"timeout": httpx.Timeout(30.0, connect=15.0).as_dict()}
"""Seconds for evidence and keys, which are served from memory; an answer may take far longer."""

PLAIN: Mapping[str, str] = {}
ANEW: Mapping[str, str] = {"Cache-Control": "no-cache"}
"""Has a relay ask its gateway although it keeps a copy."""

T = TypeVar("T")
Flow = Generator[httpx.Request, httpx.Response, T]
Clock = Callable[[], float]


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


class EvidenceSource:
    """The verified evidence of one route: from memory, from disk, or fetched."""

    def __init__(self, route: Route, *, clock: Clock = time.time) -> None:
        self.route = route
        self.clock = clock
        self._held: Held | None = None

    def current(self, extensions: dict[str, object] = FETCHING) -> Flow[VerifiedEvidence]:
        """Return evidence that holds now; costs no request while it is kept."""
        held = self._held or self._stored()
        if held is not None and self.clock() < held.expires:
            self._held = held
            return held.verified
        return (yield from self.renewed(extensions))

    def renewed(self, extensions: dict[str, object] = FETCHING) -> Flow[VerifiedEvidence]:
        """Fetch and verify anew, whatever is kept; raises EvidenceRefused."""
        request = evidence_request(self.route.endpoint, extensions)
        if self._held is not None and self.clock() < self._held.expires:
            # The gateway refuses a key that should hold: the relay's copy is as old as ours.
            request.headers.update(ANEW)
        self.forget()
        response = yield request
        now = self.clock()
        served = _evidence_in(response, self.route.endpoint)
        verified = self.route.policy.verify(decode(served), now=now)
        expires = min(now + freshness(response.headers), self.route.policy.expiry(verified))
        self._held = Held(verified, expires)
        if self.route.cache is not None and expires > now:
            entry = Entry(verified.evidence.encode(), expires)
            self.route.cache.store(self.route.endpoint, self.route.policy, entry)
        return verified

    def forget(self) -> None:
        """Drop what is kept: the gateway no longer knows its keys."""
        self._held = None
        if self.route.cache is not None:
            self.route.cache.forget(self.route.endpoint, self.route.policy)

    def _stored(self) -> Held | None:
        if self.route.cache is None:
            return None
        entry = self.route.cache.load(self.route.endpoint, self.route.policy)
        if entry is None or entry.expires <= self.clock():
            return None
        try:
            verified = self.route.policy.verify(decode(entry.evidence), now=self.clock())
        except EvidenceRefused:
            return None  # what is fetched instead is verified by the same policy
        return Held(verified, min(entry.expires, self.route.policy.expiry(verified)))


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
    request = evidence_request(endpoint, FETCHING, nonce)
    request.headers.update(fields)
    response = yield request
    kept = kept_seconds(response.headers, now=clock())
    return Copy(decode(_evidence_in(response, endpoint)), kept)


def fetch_keys(endpoint: Endpoint) -> Flow[bytes]:
    """Return the application/ohttp-keys bytes that are served, nothing of them verified."""
    fields = [*OUTER_FIELDS, ("Accept", OHTTP_KEYS.decode())]
    response = yield httpx.Request("GET", endpoint.keys, headers=fields, extensions=FETCHING)
    return body_of(response, "keys", endpoint.role)


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
        raise OuterRefusal(
            f"asked for the {what}, {response.request.url} answered {response.status_code}",
            status=response.status_code,
            advice=silence(response, role) or otherwise,
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
    with suppress(KeyError, ValueError):
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
