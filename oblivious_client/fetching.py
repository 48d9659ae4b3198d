"""What is fetched from a relay or gateway in the clear, nothing of it verified yet.

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
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import ExchangeError, OuterRefusal
from oblivious_client.exits import Exit
from oblivious_client.outer import BODY_LIMIT, DEADLINE
from oblivious_client.policy import decode
from oblivious_client.releases.published import MAX_LIST_BYTES
from protocol.evidence import Evidence
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

PLAIN: Mapping[str, str] = {}
ANEW: Mapping[str, str] = {"Cache-Control": "no-cache"}
"""Has a relay ask its gateway although it keeps a copy."""

T = TypeVar("T")
# Yields a request and is sent its response, or yields a pause and goes on after it.
Flow = Generator["Step", httpx.Response, T]
Clock = Callable[[], float]


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


Step = httpx.Request | Pause


def patiently(request: httpx.Request) -> Flow[httpx.Response]:
    """Return the response; a relay that says "not so often" (429) is asked again a little later."""
    response = yield request
    for seconds in PAUSES:
        if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
            break
        told = _seconds(response.headers.get("retry-after", ""))
        yield Pause(max(seconds, min(told, LONGEST_PAUSE)))
        response = yield request
    return response


def is_old(response: httpx.Response, now: float) -> bool:
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
    response = yield from patiently(request)
    kept = kept_seconds(response.headers, now=clock())
    return Copy(decode(evidence_in(response, endpoint)), kept)


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
    return body_of((yield from patiently(request)), what, endpoint.role)


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
            is_of_document=True,
        )
    return response.content


def evidence_in(response: httpx.Response, endpoint: Endpoint) -> bytes:
    """Return the body that should be evidence; raises OuterRefusal for anything but a 200."""
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
